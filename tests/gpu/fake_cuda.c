/* A stand-in for libcuda.so.1: it notes each launch in the file that FAKE_CUDA names, and takes as long as a GPU would.

   It shows that the load calls the driver's API in the right order, with arguments where the API wants them. It does not
   look at the kernels: those are assembled where a `ptxas` is. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int device_count, module_count;
static const char *last_source;

static void note(const char *what, unsigned long long a, unsigned long long b, unsigned long long c) {
    const char *path = getenv("FAKE_CUDA");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (!file) return;
    fprintf(file, "%s %llu %llu %llu\n", what, a, b, c);
    fclose(file);
}

int cuInit(unsigned flags) { device_count = 1; return (int)flags; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return ordinal < device_count ? 0 : 101; }
int cuDeviceGetAttribute(int *value, int which, int device) {
    if (device != 7) return 101;
    const char *major = getenv("FAKE_CUDA_MAJOR");
    *value = which == 16 ? 132 : which == 75 ? (major ? atoi(major) : 9) : 0;
    return 0;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { *context = (void *)0x11; return device == 7 ? 0 : 101; }
int cuCtxSetCurrent(void *context) { return context == (void *)0x11 ? 0 : 201; }
int cuMemAlloc_v2(unsigned long long *at, size_t size) {
    *at = 0x7f0000000000ull;
    note("alloc", size, 0, 0);
    return size ? 0 : 1;
}
int cuMemsetD32_v2(unsigned long long at, unsigned value, size_t count) {
    note("set", at, value, count);
    return 0;
}
int cuModuleLoadData(void **module, const char *source) {
    if (strncmp(source, "\n.version", 9)) return 218;
    last_source = source;
    *module = (void *)(size_t)(0x100 + ++module_count);
    return 0;
}
int cuModuleGetFunction(void **function, void *module, const char *name) {
    static const char *names[] = {"spin", "copy", "tensor"};
    char entry[64];
    snprintf(entry, sizeof entry, ".entry %s(", name);
    if (module != (void *)(size_t)(0x100 + module_count) || !strstr(last_source, entry)) return 500;
    for (int i = 0; i < 3; i++)
        if (!strcmp(name, names[i])) *function = (void *)names[i];
    return 0;
}
int cuLaunchKernel(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void *stream, void **arguments, void **extra) {
    if (gy != 1 || gz != 1 || by != 1 || bz != 1 || shared || stream || extra) return 1;
    unsigned rounds = *(unsigned *)arguments[0];
    unsigned long long out = *(unsigned long long *)arguments[1];
    int copy = !strcmp((const char *)function, "copy");
    note((const char *)function, gx * 1000ull + bx, out, copy ? *(unsigned long long *)arguments[2] : rounds);
    usleep(rounds > 100000 ? 20000 : 1000);
    return 0;
}
int cuCtxSynchronize(void) { return 0; }
