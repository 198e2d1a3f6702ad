/* A fake NVML library with two GPUs. The second GPU, like a MIG slice, supports neither power nor throttle reasons.
   Both GPUs are lost while the file named by FAKE_NVML_LOST exists. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OK = 0, NOT_SUPPORTED = 3, GPU_IS_LOST = 15 };
enum { POWER_CAP = 0x4, IDLE = 0x1 };

typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned long long total, free, used; } Memory;

static int lost(void) {
    const char *file = getenv("FAKE_NVML_LOST");
    return file && access(file, F_OK) == 0;
}

static int number(void *gpu) { return (int)((char *)gpu - (char *)0) - 1; }  /* a handle is never null */

int nvmlInitWithFlags(unsigned flags) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "Not Supported"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **gpu) { *gpu = (char *)0 + index + 1; return OK; }

int nvmlDeviceGetName(void *gpu, char *name, unsigned size) {
    snprintf(name, size, "Fake %d", number(gpu));
    return OK;
}

int nvmlDeviceGetUUID(void *gpu, char *uuid, unsigned size) {
    snprintf(uuid, size, "GPU-%08d", number(gpu));
    return OK;
}

int nvmlDeviceGetUtilizationRates(void *gpu, Utilization *rates) {
    rates->gpu = 40 + number(gpu);
    rates->memory = 7;
    return lost() ? GPU_IS_LOST : OK;
}

int nvmlDeviceGetMemoryInfo(void *gpu, Memory *memory) {
    memory->total = 80ULL << 30;
    memory->used = 20ULL << 30;
    memory->free = 60ULL << 30;
    return lost() ? GPU_IS_LOST : OK;
}

static int milliwatts(void *gpu, unsigned value, unsigned *reading) {
    *reading = value;
    return number(gpu) ? NOT_SUPPORTED : lost() ? GPU_IS_LOST : OK;
}

int nvmlDeviceGetPowerUsage(void *gpu, unsigned *power) { return milliwatts(gpu, 250500, power); }
int nvmlDeviceGetEnforcedPowerLimit(void *gpu, unsigned *limit) { return milliwatts(gpu, 700000, limit); }

int nvmlDeviceGetTemperature(void *gpu, int sensor, unsigned *celsius) {
    *celsius = 61;
    return lost() ? GPU_IS_LOST : OK;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *gpu, unsigned long long *reasons) {
    *reasons = POWER_CAP | IDLE;
    return number(gpu) ? NOT_SUPPORTED : lost() ? GPU_IS_LOST : OK;
}
