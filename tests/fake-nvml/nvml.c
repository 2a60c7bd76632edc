/* The fake driver: a libnvidia-ml.so.1 that says what its control file says. This file: life, devices, simple values. */
#define _GNU_SOURCE
#include "nvml.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct Handle {
    int number, mig;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct Handle handles[MAX_GPUS][MAX_MIGS + 1];
static bool lost[MAX_GPUS];
static int users;

static void note_call(const Control *control, const char *function, Device device, const char *note) {
    // A wait looks many times.
    if (!strcmp(function, "nvmlEventSetWait_v2")) return;
    const char *path = control->log[0] ? control->log : getenv("FAKE_NVML_LOG");
    FILE *log = path && *path ? fopen(path, "ae") : NULL;
    if (!log) return;
    if (device) fprintf(log, "%s %d%s\n", function, device->number, note);
    else fprintf(log, "%s%s\n", function, note);
    fclose(log);
}

static const Rule *rule_for(const Control *control, char what, const char *function, Device device) {
    for (int i = 0; i < control->rules; i++) {
        const Rule *rule = &control->rule[i];
        bool is_meant = rule->function[0] == '*' || !strcmp(rule->function, function);
        if (rule->what == what && is_meant && (rule->gpu < 0 || (device && device->number == rule->gpu))) return rule;
    }
    return NULL;
}

static bool has_lost(const Control *control, int number) {
    const Entry *entry = entry_of(&control->gpu[number], "lost");
    return entry && curve_at(&entry->curve, control_time(control)) != 0;
}

/* A GPU that was lost once stays lost until the library is initialized again. */
bool is_lost(int number) { return lost[number]; }

Return call_begin(Call *call, const char *function, Device device, const char *note) {
    pthread_mutex_lock(&lock);
    call->control = control_read();
    note_call(call->control, function, device, note);
    while (rule_for(call->control, 'h', function, device)) {
        pthread_mutex_unlock(&lock);
        usleep(2000);
        pthread_mutex_lock(&lock);
        call->control = control_read();
    }
    if (rule_for(call->control, 'c', function, device)) *(volatile int *)0 = 0;
    const Rule *rule = rule_for(call->control, 'f', function, device);
    if (rule) return rule->code;
    call->time = control_time(call->control);
    call->gpu = NULL;
    if (!users && strncmp(function, "nvmlInit", 8)) return UNINITIALIZED;
    if (!device) return OK;
    const Gpu *gpu = &call->control->gpu[device->number];
    if (has_lost(call->control, device->number)) lost[device->number] = true;
    if (lost[device->number]) return GPU_IS_LOST;
    call->gpu = device->mig < 0 ? gpu : &call->control->mig[device->number][device->mig];
    return call->gpu->is_there ? OK : INVALID_ARGUMENT;
}

Return call_end(Return outcome) {
    pthread_mutex_unlock(&lock);
    return outcome;
}

bool value_of(const Call *call, const char *key, double *value) {
    const Entry *entry = entry_of(call->gpu, key);
    if (entry) *value = curve_at(&entry->curve, call->time);
    return entry != NULL;
}

Device handle_of(const Gpu *gpu) {
    struct Handle *handle = &handles[gpu->number][gpu->mig + 1];
    handle->number = gpu->number;
    handle->mig = gpu->mig;
    return handle;
}

/* === Life === */

Return nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    Call call;
    Return outcome = call_begin(&call, "nvmlInit_v2", NULL, "");
    if (outcome == OK && users++ == 0) memset(lost, 0, sizeof lost);
    return call_end(outcome);
}

Return nvmlInit_v2(void) { return nvmlInitWithFlags(0); }
Return nvmlInit(void) { return nvmlInitWithFlags(0); }

Return nvmlShutdown(void) {
    BEGIN(nvmlShutdown, NULL);
    users--;
    return call_end(OK);
}

const char *nvmlErrorString(Return code) {
    switch (code) {
    case OK: return "Success";
    case UNINITIALIZED: return "Uninitialized";
    case INVALID_ARGUMENT: return "Invalid Argument";
    case NOT_SUPPORTED: return "Not Supported";
    case NOT_FOUND: return "Not Found";
    case INSUFFICIENT_SIZE: return "Insufficient Size";
    case GPU_IS_LOST: return "GPU is lost";
    }
    return "Unknown Error";
}

static Return copy(const char *text, char *to, unsigned size) {
    if (!text) return NOT_SUPPORTED;
    if (strlen(text) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, text);
    return OK;
}

Return nvmlSystemGetDriverVersion(char *text, unsigned size) {
    BEGIN(nvmlSystemGetDriverVersion, NULL);
    return call_end(copy(call.control->driver, text, size));
}

Return nvmlSystemGetNVMLVersion(char *text, unsigned size) {
    BEGIN(nvmlSystemGetNVMLVersion, NULL);
    return call_end(copy(call.control->library, text, size));
}

Return nvmlSystemGetCudaDriverVersion_v2(int *version) {
    BEGIN(nvmlSystemGetCudaDriverVersion_v2, NULL);
    *version = call.control->cuda;
    return call_end(OK);
}

Return nvmlSystemGetCudaDriverVersion(int *version) { return nvmlSystemGetCudaDriverVersion_v2(version); }

/* === Devices: index is the place among those that are there === */

static const Gpu *gpu_at(const Control *control, unsigned index) {
    for (int i = 0; i < MAX_GPUS; i++)
        if (control->gpu[i].is_there && index-- == 0) return &control->gpu[i];
    return NULL;
}

Return nvmlDeviceGetCount_v2(unsigned *count) {
    BEGIN(nvmlDeviceGetCount_v2, NULL);
    *count = 0;
    while (gpu_at(call.control, *count)) ++*count;
    return call_end(OK);
}

Return nvmlDeviceGetCount(unsigned *count) { return nvmlDeviceGetCount_v2(count); }

Return nvmlDeviceGetHandleByIndex_v2(unsigned index, Device *device) {
    char note[16];
    snprintf(note, sizeof note, " %u", index);
    Call call;
    Return outcome = call_begin(&call, "nvmlDeviceGetHandleByIndex_v2", NULL, note);
    if (outcome != OK) return call_end(outcome);
    const Gpu *gpu = gpu_at(call.control, index);
    if (!gpu) return call_end(INVALID_ARGUMENT);
    *device = handle_of(gpu);
    return call_end(is_lost(gpu->number) ? GPU_IS_LOST : OK);
}

Return nvmlDeviceGetHandleByIndex(unsigned index, Device *device) { return nvmlDeviceGetHandleByIndex_v2(index, device); }

/* Without the leading zeros of the domain, and whatever case. */
static bool is_same_bus(const char *a, const char *b) {
    size_t left = strlen(a), right = strlen(b);
    return left >= 12 && right >= 12 && !strcasecmp(a + left - 12, b + right - 12);
}

static Return find(const char *function, const char *key, const char *wanted, Device *device) {
    char note[TEXT + 1];
    snprintf(note, sizeof note, " %s", wanted);
    Call call;
    Return outcome = call_begin(&call, function, NULL, note);
    if (outcome != OK) return call_end(outcome);
    for (int i = 0; i < MAX_GPUS; i++)
        for (int part = -1; part < MAX_MIGS; part++) {
            const Gpu *gpu = part < 0 ? &call.control->gpu[i] : &call.control->mig[i][part];
            const Entry *entry = entry_of(gpu, key);
            bool is_it = entry && (!strcmp(key, "bus") ? is_same_bus(entry->text, wanted) : !strcmp(entry->text, wanted));
            if (!is_it) continue;
            *device = handle_of(gpu);
            return call_end(is_lost(i) ? GPU_IS_LOST : OK);
        }
    return call_end(NOT_FOUND);
}

Return nvmlDeviceGetHandleByUUID(const char *uuid, Device *device) {
    return find("nvmlDeviceGetHandleByUUID", "uuid", uuid, device);
}

Return nvmlDeviceGetHandleByPciBusId_v2(const char *bus, Device *device) {
    return find("nvmlDeviceGetHandleByPciBusId_v2", "bus", bus, device);
}

Return nvmlDeviceGetHandleByPciBusId(const char *bus, Device *device) { return nvmlDeviceGetHandleByPciBusId_v2(bus, device); }

Return nvmlDeviceGetHandleBySerial(const char *serial, Device *device) {
    return find("nvmlDeviceGetHandleBySerial", "serial", serial, device);
}

Return nvmlDeviceGetIndex(Device device, unsigned *index) {
    BEGIN(nvmlDeviceGetIndex, device);
    *index = 0;
    for (const Gpu *gpu; (gpu = gpu_at(call.control, *index)) && gpu->number != device->number;) ++*index;
    if (device->mig >= 0) *index = (unsigned)device->mig;
    return call_end(OK);
}

Return nvmlDeviceGetPciInfo_v3(Device device, Pci *pci) {
    BEGIN(nvmlDeviceGetPciInfo_v3, device);
    const Entry *bus = entry_of(&call.control->gpu[device->number], "bus");
    memset(pci, 0, sizeof *pci);
    if (!bus || sscanf(bus->text, "%x:%x:%x", &pci->domain, &pci->bus, &pci->device) < 3) return call_end(NOT_SUPPORTED);
    pci->id = 0x233010de;
    snprintf(pci->text, sizeof pci->text, "%08X:%02X:%02X.0", pci->domain, pci->bus, pci->device);
    snprintf(pci->legacy, sizeof pci->legacy, "%04X:%02X:%02X.0", pci->domain & 0xffff, pci->bus & 0xff, pci->device & 0xff);
    return call_end(OK);
}

Return nvmlDeviceGetPciInfo_v2(Device device, Pci *pci) { return nvmlDeviceGetPciInfo_v3(device, pci); }
Return nvmlDeviceGetPciInfo(Device device, Pci *pci) { return nvmlDeviceGetPciInfo_v3(device, pci); }

/* A call that gives a text of a key. */
#define TEXT_CALL(function, key)                                                \
    Return function(Device device, char *text, unsigned size) {                 \
        BEGIN(function, device);                                                \
        const Entry *entry = entry_of(call.gpu, key);                           \
        return call_end(copy(entry ? entry->text : NULL, text, size));          \
    }

TEXT_CALL(nvmlDeviceGetName, "name")
TEXT_CALL(nvmlDeviceGetUUID, "uuid")
TEXT_CALL(nvmlDeviceGetSerial, "serial")
TEXT_CALL(nvmlDeviceGetVbiosVersion, "vbios")

/* A call that gives a value of a key, `scale` times. */
#define NUMBER_CALL(function, type, key, scale)                                 \
    Return function(Device device, type *to) {                                  \
        BEGIN(function, device);                                                \
        double value;                                                           \
        if (!value_of(&call, key, &value)) return call_end(NOT_SUPPORTED);      \
        *to = (type)(value * (scale) + 0.5);                                    \
        return call_end(OK);                                                    \
    }

NUMBER_CALL(nvmlDeviceGetMinorNumber, unsigned, "minor", 1)
NUMBER_CALL(nvmlDeviceGetPowerUsage, unsigned, "power", 1000)
NUMBER_CALL(nvmlDeviceGetEnforcedPowerLimit, unsigned, "power.limit", 1000)
NUMBER_CALL(nvmlDeviceGetPowerManagementLimit, unsigned, "power.limit", 1000)
NUMBER_CALL(nvmlDeviceGetNumFans, unsigned, "fans", 1)
NUMBER_CALL(nvmlDeviceGetFanSpeed, unsigned, "fan", 1)
NUMBER_CALL(nvmlDeviceGetPerformanceState, unsigned, "pstate", 1)
NUMBER_CALL(nvmlDeviceGetPersistenceMode, unsigned, "persistence", 1)
NUMBER_CALL(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, "throttle", 1)
NUMBER_CALL(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, "throttle", 1)
NUMBER_CALL(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, "pcie.generation", 1)
NUMBER_CALL(nvmlDeviceGetCurrPcieLinkWidth, unsigned, "pcie.width", 1)
NUMBER_CALL(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, "pcie.generation", 1)
NUMBER_CALL(nvmlDeviceGetMaxPcieLinkWidth, unsigned, "pcie.width", 1)
NUMBER_CALL(nvmlDeviceGetPcieReplayCounter, unsigned, "pcie.replays", 1)
NUMBER_CALL(nvmlDeviceGetRetiredPagesPendingStatus, unsigned, "retired.pending", 1)
NUMBER_CALL(nvmlDeviceGetComputeMode, unsigned, "compute.mode", 1)
NUMBER_CALL(nvmlDeviceGetDisplayActive, unsigned, "display", 1)
NUMBER_CALL(nvmlDeviceGetDisplayMode, unsigned, "display", 1)
NUMBER_CALL(nvmlDeviceGetGpuInstanceId, unsigned, "instance", 1)

Return nvmlDeviceGetFanSpeed_v2(Device device, unsigned fan, unsigned *percent) {
    double value;
    BEGIN(nvmlDeviceGetFanSpeed_v2, device);
    if (!value_of(&call, "fan", &value)) return call_end(NOT_SUPPORTED);
    (void)fan;
    *percent = (unsigned)value;
    return call_end(OK);
}

Return nvmlDeviceGetTotalEnergyConsumption(Device device, unsigned long long *millijoules) {
    double base = 0;
    BEGIN(nvmlDeviceGetTotalEnergyConsumption, device);
    const Entry *power = entry_of(call.gpu, "power");
    if (!power) return call_end(NOT_SUPPORTED);
    value_of(&call, "energy", &base);
    *millijoules = (unsigned long long)((base + curve_integral(&power->curve, call.time)) * 1000 + 0.5);
    return call_end(OK);
}

Return nvmlDeviceGetMemoryInfo_v2(Device device, MemoryV2 *memory) {
    double total, used = 0, reserved = 0;
    BEGIN(nvmlDeviceGetMemoryInfo_v2, device);
    if (memory->version != (sizeof *memory | 2 << 24)) return call_end(25);
    if (!value_of(&call, "memory.total", &total)) return call_end(NOT_SUPPORTED);
    value_of(&call, "memory.used", &used);
    value_of(&call, "memory.reserved", &reserved);
    memory->total = (unsigned long long)total;
    memory->used = (unsigned long long)used;
    memory->reserved = (unsigned long long)reserved;
    memory->free = memory->total - memory->used - memory->reserved;
    return call_end(OK);
}

/* The older one counts what is reserved as used. */
Return nvmlDeviceGetMemoryInfo(Device device, Memory *memory) {
    MemoryV2 newer = {.version = sizeof newer | 2 << 24};
    Return outcome = nvmlDeviceGetMemoryInfo_v2(device, &newer);
    if (outcome != OK) return outcome;
    *memory = (Memory){newer.total, newer.free, newer.used + newer.reserved};
    return OK;
}

Return nvmlDeviceGetBAR1MemoryInfo(Device device, Memory *memory) {
    double total;
    BEGIN(nvmlDeviceGetBAR1MemoryInfo, device);
    if (!value_of(&call, "bar1.total", &total)) return call_end(NOT_SUPPORTED);
    *memory = (Memory){(unsigned long long)total, (unsigned long long)total, 0};
    return call_end(OK);
}

Return nvmlDeviceGetUtilizationRates(Device device, Utilization *rates) {
    double gpu, memory = 0;
    BEGIN(nvmlDeviceGetUtilizationRates, device);
    if (entry_of(call.gpu, "mig") || !value_of(&call, "utilization", &gpu)) return call_end(NOT_SUPPORTED);
    value_of(&call, "memory.utilization", &memory);
    *rates = (Utilization){(unsigned)gpu, (unsigned)memory};
    return call_end(OK);
}

static Return coder(const char *function, const char *key, Device device, unsigned *percent, unsigned *period_us) {
    Call call;
    double value;
    Return outcome = call_begin(&call, function, device, "");
    if (outcome != OK) return call_end(outcome);
    if (!value_of(&call, key, &value)) return call_end(NOT_SUPPORTED);
    *percent = (unsigned)value;
    *period_us = 167000;
    return call_end(OK);
}

Return nvmlDeviceGetEncoderUtilization(Device device, unsigned *percent, unsigned *period_us) {
    return coder("nvmlDeviceGetEncoderUtilization", "encoder", device, percent, period_us);
}

Return nvmlDeviceGetDecoderUtilization(Device device, unsigned *percent, unsigned *period_us) {
    return coder("nvmlDeviceGetDecoderUtilization", "decoder", device, percent, period_us);
}

/* A call whose second argument chooses the key; a key that is NULL is an invalid choice. */
static Return chosen(const char *function, Device device, const char *const *keys, unsigned count, unsigned choice, double *value) {
    Call call;
    Return outcome = call_begin(&call, function, device, "");
    if (outcome != OK) return call_end(outcome);
    if (choice >= count || !keys[choice]) return call_end(INVALID_ARGUMENT);
    return call_end(value_of(&call, keys[choice], value) ? OK : NOT_SUPPORTED);
}

#define CHOICE_CALL(function, ...)                                                                    \
    Return function(Device device, unsigned choice, unsigned *to) {                                   \
        static const char *const keys[] = {__VA_ARGS__};                                              \
        double value = 0;                                                                             \
        Return outcome = chosen(#function, device, keys, sizeof keys / sizeof *keys, choice, &value); \
        if (outcome == OK) *to = (unsigned)value;                                                     \
        return outcome;                                                                               \
    }

CHOICE_CALL(nvmlDeviceGetTemperature, "temperature")
CHOICE_CALL(nvmlDeviceGetTemperatureThreshold, "temperature.shutdown", "temperature.slowdown", NULL, "temperature.limit")
CHOICE_CALL(nvmlDeviceGetClockInfo, "clock.graphics", "clock.sm", "clock.memory", "clock.video")
CHOICE_CALL(nvmlDeviceGetMaxClockInfo, "clock.graphics.max", "clock.sm.max", "clock.memory.max", "clock.video.max")

typedef struct {
    unsigned version, sensor;
    int celsius;
} Temperature;

Return nvmlDeviceGetTemperatureV(Device device, Temperature *to) {
    double value;
    BEGIN(nvmlDeviceGetTemperatureV, device);
    if (!value_of(&call, "temperature", &value)) return call_end(NOT_SUPPORTED);
    to->celsius = (int)value;
    return call_end(OK);
}

Return nvmlDeviceGetPcieThroughput(Device device, unsigned direction, unsigned *kilobytes) {
    static const char *const keys[] = {"pcie.tx", "pcie.rx"};
    double value = 0;
    Return outcome = chosen("nvmlDeviceGetPcieThroughput", device, keys, 2, direction, &value);
    if (outcome == OK) *kilobytes = (unsigned)(value / 1024);
    return outcome;
}

Return nvmlDeviceGetCudaComputeCapability(Device device, int *major, int *minor) {
    BEGIN(nvmlDeviceGetCudaComputeCapability, device);
    *major = 9, *minor = 0;
    return call_end(OK);
}

/* === Errors of memory === */

Return nvmlDeviceGetEccMode(Device device, unsigned *current, unsigned *pending) {
    double value;
    BEGIN(nvmlDeviceGetEccMode, device);
    if (!value_of(&call, "ecc", &value)) return call_end(NOT_SUPPORTED);
    *current = *pending = (unsigned)value;
    return call_end(OK);
}

Return nvmlDeviceGetTotalEccErrors(Device device, unsigned kind, unsigned counter, unsigned long long *count) {
    double value;
    BEGIN(nvmlDeviceGetTotalEccErrors, device);
    (void)counter;
    if (!value_of(&call, kind ? "ecc.uncorrected" : "ecc.corrected", &value)) return call_end(NOT_SUPPORTED);
    *count = (unsigned long long)value;
    return call_end(OK);
}

static Return retired(Device device, unsigned cause, unsigned *count) {
    double value;
    BEGIN(nvmlDeviceGetRetiredPages, device);
    if (!value_of(&call, cause ? "retired.double" : "retired.single", &value)) return call_end(NOT_SUPPORTED);
    unsigned room = *count;
    *count = (unsigned)value;
    return call_end(room < *count ? INSUFFICIENT_SIZE : OK);
}

Return nvmlDeviceGetRetiredPages(Device device, unsigned cause, unsigned *count, unsigned long long *pages) {
    Return outcome = retired(device, cause, count);
    for (unsigned i = 0; outcome == OK && pages && i < *count; i++) pages[i] = i;
    return outcome;
}

Return nvmlDeviceGetRetiredPages_v2(Device device, unsigned cause, unsigned *count, unsigned long long *pages,
                                    unsigned long long *times) {
    Return outcome = nvmlDeviceGetRetiredPages(device, cause, count, pages);
    for (unsigned i = 0; outcome == OK && times && i < *count; i++) times[i] = 0;
    return outcome;
}

/* === Parts of a GPU === */

Return nvmlDeviceGetMigMode(Device device, unsigned *current, unsigned *pending) {
    double value;
    BEGIN(nvmlDeviceGetMigMode, device);
    if (!value_of(&call, "mig", &value)) return call_end(NOT_SUPPORTED);
    *current = *pending = (unsigned)value;
    return call_end(OK);
}

Return nvmlDeviceGetMaxMigDeviceCount(Device device, unsigned *count) {
    BEGIN(nvmlDeviceGetMaxMigDeviceCount, device);
    *count = entry_of(call.gpu, "mig") ? MAX_MIGS : 0;
    return call_end(OK);
}

Return nvmlDeviceGetMigDeviceHandleByIndex(Device device, unsigned index, Device *part) {
    BEGIN(nvmlDeviceGetMigDeviceHandleByIndex, device);
    if (index >= MAX_MIGS || !call.control->mig[device->number][index].is_there) return call_end(NOT_FOUND);
    *part = handle_of(&call.control->mig[device->number][index]);
    return call_end(OK);
}

Return nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Device part, Device *device) {
    BEGIN(nvmlDeviceGetDeviceHandleFromMigDeviceHandle, part);
    *device = handle_of(&call.control->gpu[part->number]);
    return call_end(OK);
}

Return nvmlDeviceIsMigDeviceHandle(Device device, unsigned *answer) {
    BEGIN(nvmlDeviceIsMigDeviceHandle, device);
    *answer = device->mig >= 0;
    return call_end(OK);
}

/* === What no GPU of this driver has, and some programs end without === */

#define UNSUPPORTED_CALL(function)                                              \
    Return function(Device device) {                                            \
        BEGIN(function, device);                                                \
        return call_end(NOT_SUPPORTED);                                         \
    }

UNSUPPORTED_CALL(nvmlDeviceGetDriverModel)
UNSUPPORTED_CALL(nvmlDeviceGetDriverModel_v2)
UNSUPPORTED_CALL(nvmlDeviceGetMemoryErrorCounter)
UNSUPPORTED_CALL(nvmlDeviceGetConfComputeMemSizeInfo)
UNSUPPORTED_CALL(nvmlDeviceGetVirtualizationMode)
