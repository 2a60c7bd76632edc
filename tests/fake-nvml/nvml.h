/* The part of NVML's interface that the fake driver has: names, numbers and layouts as its users expect them. */
#ifndef NVML_H
#define NVML_H

#include "control.h"

typedef int Return;
typedef struct Handle *Device;

enum {
    OK = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    TIMEOUT = 10,
    GPU_IS_LOST = 15,
};

typedef struct {
    char legacy[16];
    unsigned domain, bus, device, id, subsystem;
    char text[32];
} Pci;

typedef struct {
    unsigned gpu, memory;
} Utilization;

typedef struct {
    unsigned long long total, free, used;
} Memory;

typedef struct {
    unsigned version;
    unsigned long long total, reserved, free, used;
} MemoryV2;

typedef struct {
    unsigned pid;
    unsigned long long memory;
} ProcessV1;

typedef struct {
    unsigned pid;
    unsigned long long memory;
    unsigned instance, compute_instance;
} ProcessV2;

typedef struct {
    unsigned pid;
    unsigned long long time_us;
    unsigned sm, mem, enc, dec;
} Sample;

typedef union {
    double real;
    unsigned natural;
    unsigned long long large;
} Value;

typedef struct {
    unsigned field, scope;
    long long time_us, latency_us;
    unsigned type;
    Return outcome;
    Value value;
} Field;

typedef struct {
    Device device;
    unsigned long long type, data;
    unsigned instance, compute_instance;
} Event;

typedef struct {
    unsigned id;
    Return outcome;
    double value;
    const char *short_name, *long_name, *unit;
} GpmMetric;

typedef struct {
    unsigned version, count;
    void *first, *second;
    GpmMetric metric[210];
} GpmMetrics;

_Static_assert(sizeof(Pci) == 68, "nvmlPciInfo_t");
_Static_assert(sizeof(MemoryV2) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(ProcessV1) == 16, "nvmlProcessInfo_v1_t");
_Static_assert(sizeof(ProcessV2) == 24, "nvmlProcessInfo_v2_t");
_Static_assert(sizeof(Sample) == 32, "nvmlProcessUtilizationSample_t");
_Static_assert(sizeof(Field) == 40, "nvmlFieldValue_t");
_Static_assert(sizeof(Event) == 32, "nvmlEventData_t");
_Static_assert(sizeof(GpmMetric) == 40, "nvmlGpmMetric_t");

/* What one call sees of the driver. Between `call_begin` and `call_end` nothing changes. */
typedef struct {
    const Control *control;
    const Gpu *gpu;
    double time;
} Call;

/* Takes the lock, reads the control file, hangs, crashes or fails as it says. After any answer comes `call_end`. */
Return call_begin(Call *call, const char *function, Device device, const char *note);
Return call_end(Return outcome);

/* A device is needed by most calls, a note for the log by few. */
#define BEGIN(function, device)                                       \
    Call call;                                                        \
    Return outcome = call_begin(&call, #function, device, "");        \
    if (outcome != OK) return call_end(outcome)

/* The value of a key now; false where the GPU does not have it. */
bool value_of(const Call *call, const char *key, double *value);
Device handle_of(const Gpu *gpu);
bool is_lost(int number);

#endif
