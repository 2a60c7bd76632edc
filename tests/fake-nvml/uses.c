/* The fake driver: who uses a GPU, many values in one call, links to other GPUs, samples of its units, and events. */
#define _GNU_SOURCE
#include "nvml.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static unsigned long long now_us(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (unsigned long long)time.tv_sec * 1000000 + (unsigned long long)time.tv_nsec / 1000;
}

/* === Processes === */

/* Those of a part are listed with the GPU, by their instance. */
static bool is_listed(const Gpu *gpu, const Process *process, char kind) {
    const Entry *instance = entry_of(gpu, "instance");
    bool is_here = gpu->mig < 0 || (instance && (unsigned)instance->curve.value[0] == process->instance);
    return process->kind == kind && is_here;
}

static Return processes(const char *function, char kind, Device device, unsigned *count, ProcessV2 *list) {
    Call call;
    Return outcome = call_begin(&call, function, device, "");
    if (outcome != OK) return call_end(outcome);
    const Gpu *owner = &call.control->gpu[call.gpu->number];
    unsigned room = list ? *count : 0;
    *count = 0;
    for (int i = 0; i < owner->processes; i++) {
        const Process *it = &owner->process[i];
        if (!is_listed(call.gpu, it, kind)) continue;
        if (*count < room) {
            unsigned long long memory = it->has_memory ? it->memory : ULLONG_MAX;
            list[*count] = (ProcessV2){it->pid, memory, it->instance, it->instance};
        }
        ++*count;
    }
    return call_end(*count > room ? INSUFFICIENT_SIZE : OK);
}

#define PROCESS_CALLS(name, kind)                                                                          \
    Return name##_v3(Device device, unsigned *count, ProcessV2 *list) {                                    \
        return processes(#name "_v3", kind, device, count, list);                                          \
    }                                                                                                      \
    Return name##_v2(Device device, unsigned *count, ProcessV2 *list) {                                    \
        return processes(#name "_v2", kind, device, count, list);                                          \
    }                                                                                                      \
    Return name(Device device, unsigned *count, ProcessV1 *list) {                                         \
        ProcessV2 newer[MAX_PROCESSES];                                                                    \
        Return outcome = processes(#name, kind, device, count, list ? newer : NULL);                       \
        for (unsigned i = 0; outcome == OK && i < *count; i++) list[i] = (ProcessV1){newer[i].pid, newer[i].memory}; \
        return outcome;                                                                                    \
    }

PROCESS_CALLS(nvmlDeviceGetComputeRunningProcesses, 'c')
PROCESS_CALLS(nvmlDeviceGetGraphicsRunningProcesses, 'g')
PROCESS_CALLS(nvmlDeviceGetMPSComputeRunningProcesses, 'm')

static unsigned samples(const Call *call, unsigned long long since, Sample *to, unsigned room) {
    unsigned count = 0;
    for (int i = 0; i < call->gpu->processes; i++) {
        const Process *it = &call->gpu->process[i];
        Sample sample = {it->pid, now_us(), (unsigned)curve_at(&it->sm, call->time), (unsigned)curve_at(&it->mem, call->time),
                         (unsigned)curve_at(&it->enc, call->time), (unsigned)curve_at(&it->dec, call->time)};
        bool is_idle = !(sample.sm | sample.mem | sample.enc | sample.dec);
        if (is_idle || sample.time_us <= since) continue;
        if (count < room) to[count] = sample;
        count++;
    }
    for (int i = 0; i < call->gpu->rows; i++) {
        const Row *it = &call->gpu->row[i];
        unsigned long long time = (unsigned long long)(it->is_absolute ? it->time_us : (long long)now_us() - it->time_us);
        if (count < room) to[count] = (Sample){it->pid, time, it->sm, it->mem, it->enc, it->dec};
        count++;
    }
    return count;
}

Return nvmlDeviceGetProcessUtilization(Device device, Sample *list, unsigned *count, unsigned long long since) {
    char note[64];
    snprintf(note, sizeof note, " since=%llu", since);
    Call call;
    Return outcome = call_begin(&call, "nvmlDeviceGetProcessUtilization", device, note);
    if (outcome != OK) return call_end(outcome);
    if (entry_of(call.gpu, "mig") || call.gpu->mig >= 0) return call_end(NOT_SUPPORTED);
    unsigned found = samples(&call, since, list, list ? *count : 0);
    if (!list) {
        *count = (unsigned)call.gpu->ring;
        return call_end(INSUFFICIENT_SIZE);
    }
    unsigned room = *count;
    *count = found;
    if (!found) return call_end(NOT_FOUND);
    return call_end(found > room ? INSUFFICIENT_SIZE : OK);
}

/* === Many values in one call === */

enum { NATURAL = 1, LARGE = 3 };

typedef struct {
    unsigned field;
    const char *key;
    unsigned type;
    double scale;
    bool is_sum; /* a counter of what the curve says per second */
} FieldKey;

static const FieldKey field_keys[] = {
    {82, "memory.temperature", NATURAL, 1, false},  {83, "power", LARGE, 1000, true},
    {142, "remap.corrected", NATURAL, 1, false},    {143, "remap.uncorrected", NATURAL, 1, false},
    {144, "remap.pending", NATURAL, 1, false},      {145, "remap.failed", NATURAL, 1, false},
    {185, "power", NATURAL, 1000, false},           {186, "power", NATURAL, 1000, false},
    {197, "pcie.tx", LARGE, 1, true},               {198, "pcie.rx", LARGE, 1, true},
};

enum { LINKS = 18, LINK_FIELDS = 138 };

/* Bytes that went over a link so far, over all for UINT_MAX; false where the GPU has no such link. */
static bool over_links(const Gpu *gpu, bool is_received, unsigned link, double time, double *bytes) {
    bool is_any = false;
    *bytes = 0;
    for (unsigned i = 0; i < LINKS; i++) {
        char key[TEXT];
        snprintf(key, sizeof key, "nvlink.%s.%u", is_received ? "rx" : "tx", i);
        const Entry *entry = entry_of(gpu, key);
        if (!entry || (link != UINT_MAX && link != i)) continue;
        *bytes += curve_integral(&entry->curve, time);
        is_any = true;
    }
    return is_any;
}

/* Counters of links, in KiB: sent and received data, sent and received with all that goes along. */
static Return link_field(const Call *call, Field *it) {
    double bytes;
    if (!over_links(call->gpu, (it->field - LINK_FIELDS) % 2, it->scope, call->time, &bytes)) return NOT_SUPPORTED;
    it->type = LARGE;
    it->value.large = (unsigned long long)(bytes / 1024 + 0.5);
    return OK;
}

static Return field(const Call *call, Field *it) {
    if (it->field >= LINK_FIELDS && it->field < LINK_FIELDS + 4) return link_field(call, it);
    for (size_t i = 0; i < sizeof field_keys / sizeof *field_keys; i++) {
        const FieldKey *known = &field_keys[i];
        const Entry *entry = entry_of(call->gpu, known->key);
        if (known->field != it->field) continue;
        if (!entry) return NOT_SUPPORTED;
        double value = known->is_sum ? curve_integral(&entry->curve, call->time) : curve_at(&entry->curve, call->time);
        it->type = known->type;
        if (known->type == LARGE) it->value.large = (unsigned long long)(value * known->scale + 0.5);
        else it->value.natural = (unsigned)(value * known->scale + 0.5);
        return OK;
    }
    return NOT_SUPPORTED;
}

Return nvmlDeviceGetFieldValues(Device device, int count, Field *fields) {
    BEGIN(nvmlDeviceGetFieldValues, device);
    for (int i = 0; i < count; i++) {
        fields[i].time_us = (long long)now_us();
        fields[i].latency_us = 0;
        fields[i].outcome = field(&call, &fields[i]);
    }
    return call_end(OK);
}

Return nvmlDeviceGetNvLinkState(Device device, unsigned link, unsigned *is_active) {
    BEGIN(nvmlDeviceGetNvLinkState, device);
    double bytes;
    if (link >= LINKS) return call_end(INVALID_ARGUMENT);
    if (!over_links(call.gpu, false, UINT_MAX, call.time, &bytes)) return call_end(NOT_SUPPORTED);
    *is_active = over_links(call.gpu, false, link, call.time, &bytes);
    return call_end(OK);
}

/* === Samples of the units of newer GPUs: two of them give means of the time between === */

typedef struct {
    Device device;
    double time;
} Gpm;

Return nvmlGpmSampleAlloc(void **sample) { return (*sample = calloc(1, sizeof(Gpm))) ? OK : 20; }

Return nvmlGpmSampleFree(void *sample) {
    free(sample);
    return OK;
}

typedef struct {
    unsigned version, is_supported;
} GpmSupport;

Return nvmlGpmQueryDeviceSupport(Device device, GpmSupport *support) {
    BEGIN(nvmlGpmQueryDeviceSupport, device);
    support->is_supported = entry_of(call.gpu, "gpm.sm") != NULL;
    return call_end(OK);
}

Return nvmlGpmSampleGet(Device device, void *sample) {
    BEGIN(nvmlGpmSampleGet, device);
    if (!entry_of(call.gpu, "gpm.sm")) return call_end(NOT_SUPPORTED);
    *(Gpm *)sample = (Gpm){device, call.time};
    return call_end(OK);
}

Return nvmlGpmMigSampleGet(Device device, unsigned instance, void *sample) {
    BEGIN(nvmlGpmMigSampleGet, device);
    for (int part = 0; part < MAX_MIGS; part++) {
        const Gpu *gpu = &call.control->mig[call.gpu->number][part];
        const Entry *entry = entry_of(gpu, "instance");
        if (!entry || (unsigned)entry->curve.value[0] != instance || !entry_of(gpu, "gpm.sm")) continue;
        *(Gpm *)sample = (Gpm){handle_of(gpu), call.time};
        return call_end(OK);
    }
    return call_end(NOT_SUPPORTED);
}

/* MiB a second over all links (60, 61) or over one (62, 63, …), between two times that differ. */
static Return link_metric(const Gpu *gpu, GpmMetric *metric, double from, double to) {
    unsigned link = metric->id < 62 ? UINT_MAX : (metric->id - 62) / 2;
    bool is_received = metric->id % 2 == 0;
    double before, now;
    if (!over_links(gpu, is_received, link, from, &before)) return NOT_SUPPORTED;
    over_links(gpu, is_received, link, to, &now);
    if (to <= from) return INVALID_ARGUMENT;
    metric->value = (now - before) / (to - from) / (1024 * 1024);
    return OK;
}

static Return unit_metric(const Gpu *gpu, GpmMetric *metric, double from, double to) {
    const Entry *entry = entry_of(gpu, "gpm.sm");
    if (metric->id != 2 || !entry) return NOT_SUPPORTED;
    double sum = curve_integral(&entry->curve, to) - curve_integral(&entry->curve, from);
    metric->value = to > from ? sum / (to - from) : curve_at(&entry->curve, to);
    return OK;
}

Return nvmlGpmMetricsGet(GpmMetrics *metrics) {
    const Gpm *first = metrics->first, *second = metrics->second;
    BEGIN(nvmlGpmMetricsGet, second->device);
    for (unsigned i = 0; i < metrics->count; i++) {
        GpmMetric *metric = &metrics->metric[i];
        bool is_of_links = metric->id >= 60;
        metric->outcome = (is_of_links ? link_metric : unit_metric)(call.gpu, metric, first->time, second->time);
    }
    return call_end(OK);
}

/* === Events === */

typedef struct {
    unsigned long long wanted[MAX_GPUS];
    Device device[MAX_GPUS];
    long told[MAX_GPUS][MAX_XIDS];
    int tolds[MAX_GPUS];
} Set;

enum { XID = 8 };

Return nvmlEventSetCreate(Set **set) {
    BEGIN(nvmlEventSetCreate, NULL);
    *set = calloc(1, sizeof **set);
    return call_end(*set ? OK : 20);
}

Return nvmlEventSetFree(Set *set) {
    free(set);
    return OK;
}

Return nvmlDeviceGetSupportedEventTypes(Device device, unsigned long long *types) {
    double value = 0x1f;
    BEGIN(nvmlDeviceGetSupportedEventTypes, device);
    value_of(&call, "events", &value);
    *types = (unsigned long long)value;
    return call_end(OK);
}

static bool tell(Set *set, const Xid *xid) {
    int *tolds = &set->tolds[xid->gpu];
    for (int i = 0; i < *tolds; i++)
        if (set->told[xid->gpu][i] == xid->serial) return false;
    if (*tolds < MAX_XIDS) set->told[xid->gpu][(*tolds)++] = xid->serial;
    return true;
}

/* What happened before somebody listened is not told. */
Return nvmlDeviceRegisterEvents(Device device, unsigned long long types, Set *set) {
    double supported = 0x1f;
    BEGIN(nvmlDeviceRegisterEvents, device);
    value_of(&call, "events", &supported);
    if (types & ~(unsigned long long)supported) return call_end(NOT_SUPPORTED);
    int number = call.gpu->number;
    set->wanted[number] |= types;
    set->device[number] = device;
    for (int i = 0; i < call.control->xids; i++)
        if (call.control->xid[i].gpu == number) tell(set, &call.control->xid[i]);
    return call_end(OK);
}

static Return next_event(Set *set, Event *event) {
    BEGIN(nvmlEventSetWait_v2, NULL);
    for (int i = 0; i < call.control->xids; i++) {
        const Xid *xid = &call.control->xid[i];
        if (xid->gpu < 0 || xid->gpu >= MAX_GPUS || !(set->wanted[xid->gpu] & XID) || !tell(set, xid)) continue;
        *event = (Event){set->device[xid->gpu], XID, xid->code, UINT_MAX, UINT_MAX};
        return call_end(OK);
    }
    for (int i = 0; i < MAX_GPUS; i++)
        if (set->wanted[i] && is_lost(i)) return call_end(GPU_IS_LOST);
    return call_end(TIMEOUT);
}

Return nvmlEventSetWait_v2(Set *set, Event *event, unsigned timeout_ms) {
    unsigned long long until = now_us() + timeout_ms * 1000ull;
    for (;;) {
        Return outcome = next_event(set, event);
        if (outcome != TIMEOUT || now_us() >= until) return outcome;
        usleep(5000);
    }
}

Return nvmlEventSetWait(Set *set, Event *event, unsigned timeout_ms) { return nvmlEventSetWait_v2(set, event, timeout_ms); }
