/* A stand-in for libnvidia-ml.so.1, for machines without a GPU: tests go through the real binding into it.

   The variable FAKE_NVML names a text file of lines `key value`, looked at in each call: a test changes it while a
   process runs. Values are whole numbers, or words without spaces; the last line of a key counts. A key of GPU i is
   `i.key`; without a number it holds for all of them. What each function reads stands beside it; besides:

     fail.FUNCTION CODE       the function returns CODE               hang_ms.FUNCTION MS   it first sleeps so long
     i.fail.FUNCTION CODE     only when asked of GPU i                i.lost 1              calls about it say "lost"
     i.mig N                  it is split into N instances            tick_ms MS            counters grow with time

   Old drivers lack functions: tests/gpu/fake.py links such libraries without them.
   Layouts of structures are those of nvml.h (CUDA 12.9), as nvidia-ml-py declares them. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef unsigned int uint;
typedef unsigned long long ull;

enum { OK = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10,
       GPU_IS_LOST = 15, VERSION_MISMATCH = 25 };
enum { MAX_ENTRIES = 4096, MAX_PROCESSES = 64, INSTANCES = 8, NAME = 96, WORD = 64 };

/* -- the state file */

struct entry { char key[NAME]; char word[WORD]; };
static struct entry entries[MAX_ENTRIES];
static int entry_count;
static struct stat read_as;
static pthread_mutex_t state_lock = PTHREAD_MUTEX_INITIALIZER;

/* Reads the file when it is another one than last time. */
static void read_anew(void) {
    const char *path = getenv("FAKE_NVML");
    struct stat now = {0};
    if (!path || stat(path, &now)) {
        entry_count = 0;
        memset(&read_as, 0, sizeof read_as);
        return;
    }
    if (now.st_ino == read_as.st_ino && now.st_size == read_as.st_size &&
        now.st_mtim.tv_sec == read_as.st_mtim.tv_sec && now.st_mtim.tv_nsec == read_as.st_mtim.tv_nsec)
        return;
    FILE *file = fopen(path, "r");
    if (!file) return;
    entry_count = 0;
    while (entry_count < MAX_ENTRIES &&
           fscanf(file, "%95s %63s", entries[entry_count].key, entries[entry_count].word) == 2)
        entry_count++;
    fclose(file);
    read_as = now;
}

static void refresh(void) {
    pthread_mutex_lock(&state_lock);
    read_anew();
    pthread_mutex_unlock(&state_lock);
}

/* The word of a key of GPU `gpu`, or of all; copied into `into`. Whether there is one. */
static int word_of(int gpu, const char *key, char into[WORD]) {
    char own[NAME];
    snprintf(own, sizeof own, "%d.%s", gpu, key);
    pthread_mutex_lock(&state_lock);
    const struct entry *found = NULL;
    for (int i = 0; i < entry_count; i++) {
        if (gpu >= 0 && !strcmp(entries[i].key, own)) found = &entries[i];
        if (!strcmp(entries[i].key, key) && !(found && !strcmp(found->key, own))) found = &entries[i];
    }
    if (found) memcpy(into, found->word, WORD);
    pthread_mutex_unlock(&state_lock);
    return found != NULL;
}

static ull number_of(int gpu, ull otherwise, const char *format, ...) __attribute__((format(printf, 3, 4)));
static ull number_of(int gpu, ull otherwise, const char *format, ...) {
    char key[NAME], word[WORD];
    va_list list;
    va_start(list, format);
    vsnprintf(key, sizeof key, format, list);
    va_end(list);
    return word_of(gpu, key, word) ? strtoull(word, NULL, 10) : otherwise;
}

static void text_of(int gpu, const char *key, const char *otherwise, char *into, uint size) {
    char word[WORD];
    snprintf(into, size, "%s", word_of(gpu, key, word) ? word : otherwise);
}

static ull clock_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (ull)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static ull wall_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (ull)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* -- handles: GPU i is 0x10000 + i * 0x100, its instance j (from 0) is that + 1 + j */

static int gpu_of(const void *handle) { return (int)(((size_t)handle - 0x10000) / 0x100); }
static int instance_of(const void *handle) { return (int)((size_t)handle % 0x100) - 1; }
static void *handle_of(int gpu, int instance) { return (void *)(size_t)(0x10000 + gpu * 0x100 + 1 + instance); }
static uint gpu_count(void) { return (uint)number_of(-1, 1, "count"); }

/* What every function does first: sleep and fail as told. */
static int gate(const char *function, int gpu) {
    refresh();
    ull sleep_ms = number_of(gpu, 0, "hang_ms.%s", function);
    for (ull until = clock_ms() + sleep_ms; sleep_ms && clock_ms() < until;) usleep(1000);
    ull code = number_of(gpu, 0, "fail.%s", function);
    return code ? (int)code : gpu >= 0 && number_of(gpu, 0, "lost") ? GPU_IS_LOST : OK;
}
#define SYSTEM_GATE() do { int code_ = gate(__func__, -1); if (code_) return code_; } while (0)
#define GPU_GATE(handle) do { int code_ = gate(__func__, gpu_of(handle)); if (code_) return code_; } while (0)
#define WHOLE_GPU_ONLY(handle) do { if (instance_of(handle) >= 0) return NOT_SUPPORTED; } while (0)
/* A number that a key gives, for GPUs and not for their instances. */
#define ANSWER(handle, target, otherwise, ...) \
    do { GPU_GATE(handle); WHOLE_GPU_ONLY(handle); \
         *(target) = number_of(gpu_of(handle), (otherwise), __VA_ARGS__); return OK; } while (0)

/* -- library and enumeration; keys: count, driver, name, uuid, mig */

int nvmlInitWithFlags(uint flags) { (void)flags; SYSTEM_GATE(); return OK; }
int nvmlInit_v2(void) { SYSTEM_GATE(); return OK; }
int nvmlShutdown(void) { SYSTEM_GATE(); return OK; }
const char *nvmlErrorString(int code) {
    static char words[32];
    snprintf(words, sizeof words, "code %d of the fake", code);
    return words;
}
int nvmlSystemGetDriverVersion(char *into, uint size) {
    SYSTEM_GATE();
    text_of(-1, "driver", "580.00.fake", into, size);
    return OK;
}
int nvmlDeviceGetCount_v2(uint *count) { SYSTEM_GATE(); *count = gpu_count(); return OK; }
int nvmlDeviceGetHandleByIndex_v2(uint index, void **handle) {
    if (index >= gpu_count()) return INVALID_ARGUMENT;
    *handle = handle_of((int)index, -1);
    GPU_GATE(*handle);
    return OK;
}
int nvmlDeviceGetIndex(void *handle, uint *index) { GPU_GATE(handle); *index = (uint)gpu_of(handle); return OK; }
int nvmlDeviceGetUUID(void *handle, char *into, uint size) {
    char otherwise[WORD];
    GPU_GATE(handle);
    if (instance_of(handle) >= 0) {
        snprintf(into, size, "MIG-%08x-fa4e-fa4e-fa4e-%012x", gpu_of(handle), instance_of(handle) + 1);
        return OK;
    }
    snprintf(otherwise, sizeof otherwise, "GPU-%08x-fa4e-fa4e-fa4e-000000000000", gpu_of(handle));
    text_of(gpu_of(handle), "uuid", otherwise, into, size);
    return OK;
}
int nvmlDeviceGetName(void *handle, char *into, uint size) {
    GPU_GATE(handle);
    text_of(gpu_of(handle), "name", "Fake-H100-80GB", into, size);
    return OK;
}
int nvmlDeviceGetMigMode(void *handle, uint *current, uint *pending) {
    GPU_GATE(handle);
    WHOLE_GPU_ONLY(handle);
    *current = *pending = number_of(gpu_of(handle), 0, "mig") != 0;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *handle, uint *count) { GPU_GATE(handle); *count = INSTANCES; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *handle, uint index, void **instance) {
    GPU_GATE(handle);
    if (index >= number_of(gpu_of(handle), 0, "mig")) return NOT_FOUND;
    *instance = handle_of(gpu_of(handle), (int)index);
    return OK;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(void *instance, void **handle) {
    GPU_GATE(instance);
    *handle = handle_of(gpu_of(instance), -1);
    return OK;
}
int nvmlDeviceGetGpuInstanceId(void *handle, uint *id) {
    GPU_GATE(handle);
    if (instance_of(handle) < 0) return NOT_SUPPORTED;
    *id = (uint)instance_of(handle) + 1;
    return OK;
}

/* -- numbers; keys: memory_total, memory_used, util, power_mw, power_limit_mw, energy_mj, temperature, clock.DOMAIN,
      ecc.KIND (0 corrected, 1 uncorrected), remapped.{corrected,uncorrected,pending,failure} */

struct memory { ull total, free, used; };
struct memory_v2 { uint version; ull total, reserved, free, used; };

static ull memory_total(const void *handle) {
    ull all = number_of(gpu_of(handle), 80ull << 30, "memory_total");
    return instance_of(handle) < 0 ? all : all / INSTANCES;
}
static ull memory_used(const void *handle) {
    int gpu = gpu_of(handle), instance = instance_of(handle);
    return instance < 0 ? number_of(gpu, 1ull << 30, "memory_used")
                        : number_of(gpu, 1ull << 20, "instance.%d.memory_used", instance + 1);
}
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *info) {
    GPU_GATE(handle);
    ull reserved = 512ull << 20;
    *info = (struct memory){ memory_total(handle), 0, memory_used(handle) + reserved };
    info->free = info->total - info->used;
    return OK;
}
int nvmlDeviceGetMemoryInfo_v2(void *handle, struct memory_v2 *info) {
    GPU_GATE(handle);
    if (info->version != 0x02000028) return VERSION_MISMATCH;
    info->total = memory_total(handle);
    info->reserved = 512ull << 20;
    info->used = memory_used(handle);
    info->free = info->total - info->used - info->reserved;
    return OK;
}
int nvmlDeviceGetUtilizationRates(void *handle, uint rates[2]) { ANSWER(handle, rates, 37, "util"); }
int nvmlDeviceGetPowerUsage(void *handle, uint *milliwatts) { ANSWER(handle, milliwatts, 350000, "power_mw"); }
int nvmlDeviceGetEnforcedPowerLimit(void *handle, uint *limit) { ANSWER(handle, limit, 700000, "power_limit_mw"); }
int nvmlDeviceGetTemperature(void *handle, uint sensor, uint *celsius) {
    (void)sensor;
    ANSWER(handle, celsius, 61, "temperature");
}
int nvmlDeviceGetClockInfo(void *handle, uint domain, uint *mhz) {
    ANSWER(handle, mhz, domain == 2 ? 2619 : 1980, "clock.%u", domain);
}
int nvmlDeviceGetTotalEccErrors(void *handle, uint kind, uint counter, ull *count) {
    (void)counter;
    ANSWER(handle, count, 0, "ecc.%u", kind);
}
int nvmlDeviceGetRemappedRows(void *handle, uint *corrected, uint *uncorrected, uint *pending, uint *failure) {
    GPU_GATE(handle);
    WHOLE_GPU_ONLY(handle);
    int gpu = gpu_of(handle);
    *corrected = (uint)number_of(gpu, 0, "remapped.corrected");
    *uncorrected = (uint)number_of(gpu, 0, "remapped.uncorrected");
    *pending = (uint)number_of(gpu, 0, "remapped.pending");
    *failure = (uint)number_of(gpu, 0, "remapped.failure");
    return OK;
}

/* Since the library was loaded, in steps of `tick_ms`; 0 where nothing grows. */
static ull ticks(int gpu) {
    static ull begun;
    ull now = clock_ms(), each = number_of(gpu, 0, "tick_ms");
    if (!begun) begun = now;
    return each ? (now - begun) / each : 0;
}
static ull energy(int gpu) { return number_of(gpu, 123456789, "energy_mj") + 350 * ticks(gpu); }
int nvmlDeviceGetTotalEnergyConsumption(void *handle, ull *millijoules) {
    GPU_GATE(handle);
    WHOLE_GPU_ONLY(handle);
    *millijoules = energy(gpu_of(handle));
    return OK;
}

/* -- field values; keys: field.ID VALUE, field_error.ID CODE, field_type.ID TYPE, links N */

union value { double d; int si; uint ui; unsigned long ul; ull ull_; long long sll; unsigned short us; };
struct field { uint id, scope; long long at, took; uint type; int code; union value value; };

static ull field_default(int gpu, uint id) {
    if (id == 83) return energy(gpu);
    if (id == 91) return number_of(gpu, 0, "links");
    return 1000ull * id + ticks(gpu);
}
static void put(union value *into, uint type, ull number) {
    memset(into, 0xee, sizeof *into);  /* what a reader of the wrong member gets */
    switch (type) {
    case 0: into->d = (double)number; break;
    case 1: into->ui = (uint)number; break;
    case 2: into->ul = (unsigned long)number; break;
    case 3: into->ull_ = number; break;
    case 4: into->sll = (long long)number; break;
    case 5: into->si = (int)number; break;
    case 6: into->us = (unsigned short)number; break;
    }
}
int nvmlDeviceGetFieldValues(void *handle, int count, struct field *fields) {
    GPU_GATE(handle);
    WHOLE_GPU_ONLY(handle);
    int gpu = gpu_of(handle);
    for (int i = 0; i < count; i++) {
        struct field *one = &fields[i];
        one->at = (long long)wall_us();
        one->code = (int)number_of(gpu, one->id >= 9000 ? NOT_SUPPORTED : OK, "field_error.%u", one->id);
        int of_a_link = one->id == 138 || one->id == 139 || one->id == 202 || one->id == 204;
        if (of_a_link && one->scope >= number_of(gpu, 0, "links")) one->code = INVALID_ARGUMENT;
        one->type = (uint)number_of(gpu, 3, "field_type.%u", one->id);
        put(&one->value, one->type, number_of(gpu, field_default(gpu, one->id), "field.%u", one->id));
    }
    return OK;
}

/* -- samples of the last seconds; keys: samples N (each 1/10 s), sample.KIND VALUE (0 power in mW, 1 utilisation) */

struct sample { ull at; union value value; };
int nvmlDeviceGetSamples(void *handle, uint kind, ull since, uint *type, uint *count, struct sample *samples) {
    GPU_GATE(handle);
    WHOLE_GPU_ONLY(handle);
    int gpu = gpu_of(handle);
    const ull period = 100000;
    uint most = (uint)number_of(gpu, 20, "samples");
    ull newest = wall_us() / period * period, found = 0;
    ull value = number_of(gpu, kind == 0 ? number_of(gpu, 350000, "power_mw") : number_of(gpu, 37, "util"),
                          "sample.%u", kind);
    *type = 1;
    for (uint i = most; i-- > 0;) {
        ull at = newest - i * period;
        if (at <= since) continue;
        if (samples && found < *count) {
            samples[found].at = at;
            put(&samples[found].value, 1, value);
        }
        found++;
    }
    *count = samples && found > *count ? *count : (uint)found;
    return found ? OK : NOT_FOUND;
}

/* -- processes; keys: pid.N PID, memory.N BYTES (none: the driver does not know), sm.N PERCENT, kind.N c|g|m,
      on.N INSTANCE, idle 1 (no samples), stale.N PID (a sample of a process that is gone) */

struct process { uint pid; ull used; uint gpu_instance, compute_instance; };
static int list(const void *handle, char kind, uint *count, struct process *into) {
    int gpu = gpu_of(handle);
    uint found = 0;
    struct process all[MAX_PROCESSES];
    for (int i = 0; i < MAX_PROCESSES; i++) {
        char key[NAME], word[WORD];
        ull pid = number_of(gpu, 0, "pid.%d", i);
        int on = (int)number_of(gpu, 0, "on.%d", i) - 1;
        snprintf(key, sizeof key, "kind.%d", i);
        if (!pid || (word_of(gpu, key, word) ? word[0] : 'c') != kind) continue;
        if (instance_of(handle) >= 0 && on != instance_of(handle)) continue;
        all[found++] = (struct process){ (uint)pid, number_of(gpu, ~0ull, "memory.%d", i), ~0u, ~0u };
    }
    int fits = into && *count >= found;
    if (fits) memcpy(into, all, found * sizeof *all);
    *count = found;
    return fits || !found ? OK : INSUFFICIENT_SIZE;
}
#define LISTS(name, kind) \
    int name(void *handle, uint *count, struct process *into) { \
        GPU_GATE(handle); return list(handle, kind, count, into); }
LISTS(nvmlDeviceGetComputeRunningProcesses_v3, 'c')
LISTS(nvmlDeviceGetComputeRunningProcesses_v2, 'c')
LISTS(nvmlDeviceGetGraphicsRunningProcesses_v3, 'g')
LISTS(nvmlDeviceGetGraphicsRunningProcesses_v2, 'g')
LISTS(nvmlDeviceGetMPSComputeRunningProcesses_v3, 'm')
LISTS(nvmlDeviceGetMPSComputeRunningProcesses_v2, 'm')

struct utilisation { uint pid; ull at; uint sm, memory, encoder, decoder; };
int nvmlDeviceGetProcessUtilization(void *handle, struct utilisation *into, uint *count, ull since) {
    GPU_GATE(handle);
    WHOLE_GPU_ONLY(handle);
    int gpu = gpu_of(handle);
    struct utilisation all[2 * MAX_PROCESSES];
    uint found = 0;
    ull now = wall_us();
    if (number_of(gpu, 0, "idle")) return NOT_FOUND;
    for (int i = 0; i < MAX_PROCESSES; i++) {
        ull pid = number_of(gpu, 0, "pid.%d", i), stale = number_of(gpu, 0, "stale.%d", i);
        ull sm = number_of(gpu, 55, "sm.%d", i);
        if (pid && now > since) all[found++] = (struct utilisation){ (uint)pid, now, (uint)sm, 20, 0, 0 };
        if (stale && !since) all[found++] = (struct utilisation){ (uint)stale, 1, 99, 20, 0, 0 };
    }
    if (!found) return NOT_FOUND;
    if (!into || *count < found) {
        *count = found;
        return INSUFFICIENT_SIZE;
    }
    memcpy(into, all, found * sizeof *all);
    *count = found;
    return OK;
}

/* -- events; keys: xid NUMBER, xid_count N: how often it has happened; who registers hears of those from then on */

struct event { void *device; ull type, data; uint gpu_instance, compute_instance; };
struct event_set { void *devices[64]; ull told[64]; int count; };

int nvmlEventSetCreate(struct event_set **set) { SYSTEM_GATE(); *set = calloc(1, sizeof **set); return OK; }
int nvmlEventSetFree(struct event_set *set) { free(set); return OK; }
int nvmlDeviceGetSupportedEventTypes(void *handle, ull *types) { ANSWER(handle, types, 1 | 2 | 8 | 16, "event_types"); }
int nvmlDeviceRegisterEvents(void *handle, ull types, struct event_set *set) {
    (void)types;
    GPU_GATE(handle);
    if (set->count == 64) return INVALID_ARGUMENT;
    set->devices[set->count] = handle;
    set->told[set->count++] = number_of(gpu_of(handle), 0, "xid_count");
    return OK;
}
int nvmlEventSetWait_v2(struct event_set *set, struct event *event, uint ms) {
    SYSTEM_GATE();
    for (ull until = clock_ms() + ms;; refresh()) {
        for (int i = 0; i < set->count; i++) {
            int gpu = gpu_of(set->devices[i]);
            if (set->told[i] >= number_of(gpu, 0, "xid_count")) continue;
            set->told[i]++;
            *event = (struct event){ set->devices[i], 8, number_of(gpu, 79, "xid"), ~0u, ~0u };
            return OK;
        }
        ull now = clock_ms();
        if (now >= until) return TIMEOUT;
        usleep(1000 * (until - now < 20 ? until - now : 20));
    }
}

/* -- GPM (Hopper and newer); keys: gpm 0 (a GPU without), gpm.METRIC PERCENT, gpm_error.METRIC CODE */

struct gpm_support { uint version, supported; };
struct gpm_sample { ull at; int gpu, instance; };
struct gpm_metric { uint id; int code; double value; struct { char *short_name, *long_name, *unit; } info; };
struct gpm_request { uint version, count; struct gpm_sample *first, *second; struct gpm_metric metrics[477]; };

int nvmlGpmQueryDeviceSupport(void *handle, struct gpm_support *support) {
    ANSWER(handle, &support->supported, 1, "gpm");
}
int nvmlGpmSampleAlloc(struct gpm_sample **sample) { SYSTEM_GATE(); *sample = calloc(1, sizeof **sample); return OK; }
int nvmlGpmSampleFree(struct gpm_sample *sample) { free(sample); return OK; }
int nvmlGpmSampleGet(void *handle, struct gpm_sample *sample) {
    GPU_GATE(handle);
    *sample = (struct gpm_sample){ clock_ms(), gpu_of(handle), 0 };
    return OK;
}
int nvmlGpmMigSampleGet(void *handle, uint instance, struct gpm_sample *sample) {
    GPU_GATE(handle);
    *sample = (struct gpm_sample){ clock_ms(), gpu_of(handle), (int)instance };
    return OK;
}
int nvmlGpmMetricsGet(struct gpm_request *request) {
    SYSTEM_GATE();
    if (request->version != 1) return VERSION_MISMATCH;
    if (!request->first->at || request->second->at < request->first->at + number_of(-1, 90, "gpm_apart_ms"))
        return INVALID_ARGUMENT;
    for (uint i = 0; i < request->count; i++) {
        struct gpm_metric *one = &request->metrics[i];
        one->code = (int)number_of(request->second->gpu, OK, "gpm_error.%u", one->id);
        one->value = (double)number_of(request->second->gpu, 10 + one->id, "gpm.%u", one->id);
    }
    return OK;
}
