/* What the control file of the fake driver says, read anew whenever it changes. See control.c for its format. */
#ifndef CONTROL_H
#define CONTROL_H

#include <stdbool.h>
#include <stddef.h>

enum { MAX_GPUS = 16, MAX_MIGS = 4, MAX_ENTRIES = 48, MAX_PROCESSES = 16, MAX_ROWS = 16, MAX_POINTS = 12 };
enum { MAX_RULES = 32, MAX_XIDS = 32, TEXT = 96 };

/* A value over time: straight lines between its points, constant before the first and after the last. */
typedef struct {
    int points;
    double at[MAX_POINTS];
    double value[MAX_POINTS];
} Curve;

typedef struct {
    char key[TEXT];
    char text[TEXT];
    Curve curve;
} Entry;

typedef struct {
    unsigned pid;
    char kind; /* c: compute, g: graphics, m: MPS */
    bool has_memory;
    unsigned long long memory;
    Curve sm, mem, enc, dec;
    unsigned instance; /* of a MIG device; UINT_MAX where there is none */
} Process;

/* A row of the ring of samples, as it stands, however wrong. */
typedef struct {
    unsigned pid;
    bool is_absolute; /* `time` is microseconds since 1970, not an age */
    long long time_us;
    unsigned sm, mem, enc, dec;
} Row;

typedef struct Gpu {
    bool is_there;
    int number; /* as in the control file */
    int mig;    /* which part of it, or -1 */
    int entries;
    Entry entry[MAX_ENTRIES];
    int processes;
    Process process[MAX_PROCESSES];
    int rows;
    Row row[MAX_ROWS];
    int ring; /* how many rows the call for the size tells of */
} Gpu;

typedef struct {
    char what; /* f: fail, h: hang, c: crash */
    char function[TEXT];
    int gpu; /* -1: any */
    int code;
} Rule;

typedef struct {
    int gpu;
    unsigned long long code;
    long serial;
} Xid;

typedef struct {
    char driver[TEXT], library[TEXT];
    int cuda;
    bool has_clock;
    double clock, start;
    Gpu gpu[MAX_GPUS];
    Gpu mig[MAX_GPUS][MAX_MIGS];
    int rules;
    Rule rule[MAX_RULES];
    int xids;
    Xid xid[MAX_XIDS];
    char log[4096];
} Control;

/* The newest content of the file. The caller holds the lock of nvml.c. */
const Control *control_read(void);

/* Seconds on the clock of the curves. */
double control_time(const Control *control);

const Entry *entry_of(const Gpu *gpu, const char *key);
double curve_at(const Curve *curve, double time);
/* From 0 to `time`. */
double curve_integral(const Curve *curve, double time);

#endif
