/* Reads the control file: one statement a line, `#` begins a comment.
 *
 *   driver 575.57.08                       versions
 *   nvml 12.575.57.08
 *   cuda 12090
 *   start UNIX_SECONDS                     when the curves begin (else when the library was loaded)
 *   clock SECONDS                          the curves stand still at this second
 *   log PATH                               every call is written there (also: $FAKE_NVML_LOG)
 *   gpu N KEY VALUE                        uuid, name, bus, memory.total …: what is not named is not supported
 *   gpu N nvlink.DIRECTION.LINK VALUE      bytes a second over one link (0 to 17), sent (tx) or received (rx)
 *   mig N PART KEY VALUE                   the same of a part of it
 *   process N PID KIND MEMORY SM MEM ENC DEC [INSTANCE]   KIND: compute, graphics, mps; MEMORY `-`: not told
 *   row N PID AGE_MS SM MEM ENC DEC        a row of the ring of samples as it stands; `@US` for a time
 *   ring N COUNT                           how many rows the ring is said to have (100)
 *   xid N CODE SERIAL                      told once per event set for each serial
 *   fail FUNCTION CODE [N]                 `*` for every function; CODE as in nvmlReturn_t
 *   hang FUNCTION [N]                      does not return until the line is gone
 *   crash FUNCTION [N]
 *
 * A value is a number with an optional K, M or G (of 1024), or a curve: SECOND:VALUE,SECOND:VALUE,…
 */
#define _GNU_SOURCE
#include "control.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static Control now_in_force;
static struct stat seen;
static bool was_read;
static double loaded_at;

static double wall_seconds(void) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

__attribute__((constructor)) static void loaded(void) { loaded_at = wall_seconds(); }

/* Where the file is: named by the environment, else beside the library. */
static const char *place(void) {
    static char path[PATH_MAX];
    const char *named = getenv("FAKE_NVML_CONTROL");
    if (named && *named) return named;
    Dl_info self;
    if (!path[0] && dladdr((void *)place, &self) && self.dli_fname) {
        snprintf(path, sizeof path - 16, "%s", self.dli_fname);
        char *end = strrchr(path, '/');
        strcpy(end ? end + 1 : path, "control");
    }
    return path;
}

static double number(const char *text, char **end) {
    double value = strtod(text, end);
    switch (**end) {
    case 'K': ++*end; return value * 1024;
    case 'M': ++*end; return value * 1024 * 1024;
    case 'G': ++*end; return value * 1024 * 1024 * 1024;
    }
    return value;
}

static Curve curve(const char *text) {
    Curve curve = {0};
    while (curve.points < MAX_POINTS) {
        char *end;
        double first = number(text, &end);
        if (end == text) break;
        int point = curve.points++;
        curve.value[point] = first;
        if (*end == ':') {
            curve.at[point] = first;
            curve.value[point] = number(end + 1, &end);
        }
        if (*end != ',') break;
        text = end + 1;
    }
    return curve;
}

double curve_at(const Curve *curve, double time) {
    int last = curve->points - 1;
    if (last < 0) return 0;
    if (time <= curve->at[0]) return curve->value[0];
    for (int i = 0; i < last; i++) {
        double from = curve->at[i], to = curve->at[i + 1];
        if (time < to) return curve->value[i] + (curve->value[i + 1] - curve->value[i]) * (time - from) / (to - from);
    }
    return curve->value[last];
}

double curve_integral(const Curve *curve, double time) {
    int last = curve->points - 1;
    if (last < 0 || time <= 0) return 0;
    double sum = 0, from = 0;
    for (int i = 0; i <= last && from < time; i++) {
        double to = curve->at[i] < time ? curve->at[i] : time;
        if (to <= from) continue;
        sum += (curve_at(curve, from) + curve_at(curve, to)) / 2 * (to - from);
        from = to;
    }
    return time > from ? sum + curve->value[last] * (time - from) : sum;
}

const Entry *entry_of(const Gpu *gpu, const char *key) {
    for (int i = 0; i < gpu->entries; i++)
        if (!strcmp(gpu->entry[i].key, key)) return &gpu->entry[i];
    return NULL;
}

static void enter(Gpu *gpu, int number, int mig, const char *key, const char *value) {
    gpu->is_there = true;
    gpu->number = number;
    gpu->mig = mig;
    if (gpu->entries == MAX_ENTRIES) return;
    Entry *entry = &gpu->entry[gpu->entries++];
    snprintf(entry->key, sizeof entry->key, "%s", key);
    snprintf(entry->text, sizeof entry->text, "%s", value);
    entry->curve = curve(value);
}

static void process(Gpu *gpu, char *line) {
    char kind[TEXT], memory[TEXT], sm[TEXT], mem[TEXT], enc[TEXT], dec[TEXT];
    Process *it = &gpu->process[gpu->processes];
    it->instance = UINT_MAX;
    int found = sscanf(line, "%u %95s %95s %95s %95s %95s %95s %u", &it->pid, kind, memory, sm, mem, enc, dec, &it->instance);
    if (found < 7 || gpu->processes == MAX_PROCESSES - 1) return;
    char *end;
    it->kind = kind[0];
    it->has_memory = memory[0] != '-';
    it->memory = it->has_memory ? (unsigned long long)number(memory, &end) : 0;
    it->sm = curve(sm), it->mem = curve(mem), it->enc = curve(enc), it->dec = curve(dec);
    gpu->processes++;
}

static void row(Gpu *gpu, char *line) {
    char time[TEXT];
    Row *it = &gpu->row[gpu->rows];
    if (gpu->rows == MAX_ROWS - 1) return;
    if (sscanf(line, "%u %95s %u %u %u %u", &it->pid, time, &it->sm, &it->mem, &it->enc, &it->dec) < 6) return;
    it->is_absolute = time[0] == '@';
    it->time_us = it->is_absolute ? strtoll(time + 1, NULL, 10) : strtoll(time, NULL, 10) * 1000;
    gpu->rows++;
}

static void rule(Control *control, char what, char *line) {
    Rule *it = &control->rule[control->rules];
    if (control->rules == MAX_RULES - 1) return;
    it->what = what;
    it->gpu = -1;
    bool known = what == 'f' ? sscanf(line, "%95s %d %d", it->function, &it->code, &it->gpu) >= 2
                             : sscanf(line, "%95s %d", it->function, &it->gpu) >= 1;
    control->rules += known;
}

static Gpu *numbered(Control *control, int number) {
    return number >= 0 && number < MAX_GPUS ? &control->gpu[number] : NULL;
}

static void statement(Control *control, char *line) {
    char word[TEXT] = "", key[TEXT] = "", value[4096] = "";
    int first = -1, second = -1, rest = 0;
    if (sscanf(line, " %95s %n", word, &rest) < 1 || word[0] == '#') return;
    char *tail = line + rest;
    tail[strcspn(tail, "\r\n")] = 0;
    if (!strcmp(word, "driver")) snprintf(control->driver, TEXT, "%s", tail);
    else if (!strcmp(word, "nvml")) snprintf(control->library, TEXT, "%s", tail);
    else if (!strcmp(word, "cuda")) control->cuda = atoi(tail);
    else if (!strcmp(word, "start")) control->start = atof(tail);
    else if (!strcmp(word, "clock")) control->has_clock = true, control->clock = atof(tail);
    else if (!strcmp(word, "log")) snprintf(control->log, sizeof control->log, "%s", tail);
    else if (!strcmp(word, "fail") || !strcmp(word, "hang") || !strcmp(word, "crash")) rule(control, word[0], tail);
    else if (!strcmp(word, "gpu")) {
        if (sscanf(tail, "%d %95s %4095[^\n]", &first, key, value) == 3 && numbered(control, first))
            enter(numbered(control, first), first, -1, key, value);
    } else if (!strcmp(word, "mig")) {
        if (sscanf(tail, "%d %d %95s %4095[^\n]", &first, &second, key, value) == 4 && numbered(control, first) &&
            second >= 0 && second < MAX_MIGS)
            enter(&control->mig[first][second], first, second, key, value);
    } else if (!strcmp(word, "xid")) {
        Xid *it = &control->xid[control->xids];
        if (control->xids < MAX_XIDS - 1 && sscanf(tail, "%d %llu %ld", &it->gpu, &it->code, &it->serial) == 3) control->xids++;
    } else if (sscanf(tail, "%d %n", &first, &rest) == 1 && numbered(control, first)) {
        Gpu *gpu = numbered(control, first);
        if (!strcmp(word, "process")) process(gpu, tail + rest);
        else if (!strcmp(word, "row")) row(gpu, tail + rest);
        else if (!strcmp(word, "ring")) gpu->ring = atoi(tail + rest);
    }
}

static bool is_same(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

const Control *control_read(void) {
    struct stat status;
    if (stat(place(), &status)) {
        memset(&now_in_force, 0, sizeof now_in_force);
        was_read = false;
        return &now_in_force;
    }
    if (was_read && is_same(&status, &seen)) return &now_in_force;
    FILE *file = fopen(place(), "re");
    if (!file) return &now_in_force;
    memset(&now_in_force, 0, sizeof now_in_force);
    strcpy(now_in_force.driver, "575.57.08");
    strcpy(now_in_force.library, "12.575.57.08");
    now_in_force.cuda = 12090;
    now_in_force.start = loaded_at;
    for (int i = 0; i < MAX_GPUS; i++) now_in_force.gpu[i].ring = 100;
    char line[8192];
    while (fgets(line, sizeof line, file)) statement(&now_in_force, line);
    fclose(file);
    seen = status;
    was_read = true;
    return &now_in_force;
}

double control_time(const Control *control) {
    return control->has_clock ? control->clock : wall_seconds() - control->start;
}
