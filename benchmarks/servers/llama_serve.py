"""A real llama.cpp server on a model file: `llama_serve.py MODEL PORT`, with the interpreter of .servers/llama."""

import signal
import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
params.n_ctx = 2048
params.n_parallel = 4
params.cpuparams.n_threads = 1
params.endpoint_metrics = True
params.model_alias = {"tiny"}
server = xllamacpp.Server(params)
print("ready", server.listening_address, flush=True)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
