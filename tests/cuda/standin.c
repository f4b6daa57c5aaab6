// A CUDA driver for machines without a GPU, for counting what a program asks of one.
//
// Memory of the device is memory of the host, and what is copied up is really there; kernels are
// loaded, but none runs, and all that is read back is zero.
//
//   STANDIN_DEVICES     how many devices there are; 1 unless set
//   STANDIN_CAPABILITY  compute capability, as in 80; 90 unless set
//   STANDIN_COUNTS      file that gets the counts when the program ends, a line each: a name, and the
//                       number at each launch of the kernel whose name begins with STANDIN_MARK
//   STANDIN_MARK        such as the one that ends a step
//   STANDIN_LAUNCHES    file that gets the name of every kernel launched, in order
//
//   cc -O2 -shared -fPIC -o libcuda.so standin.c -lpthread
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK 0
#define OUT_OF_MEMORY 2
#define NO_SUCH_DEVICE 101
#define NOT_FOUND 500

typedef int Result;
typedef uintptr_t Pointer;
typedef void *Handle;

// What is counted. A stream that no kernel was launched on is one beside: of copies, or of nothing at all.
//   beside      bytes uploaded on a stream beside
//   ahead       launches between an upload beside and the wait of a stream of kernels for it, added up
//   arrivals    such waits
//   early       uploads beside whose stream has not waited for one of kernels since the upload before
//   waits       of the host, for a stream that has kernels
//   copy-waits  of the host, for a stream beside that has copies
//   own-waits   of these two those of a thread that launches kernels
enum { LAUNCHES, UPLOADS, UPLOADED, UNPINNED, READS, WAITS, LOADED, ALLOCATED, BESIDE, AHEAD, ARRIVALS, EARLY,
       COPY_WAITS, OWN_WAITS, KINDS };
static const char *const NAMES[KINDS] = {
    "launches", "uploads", "uploaded-bytes", "unpinned-bytes", "reads", "waits", "kernels", "allocations",
    "beside", "ahead", "arrivals", "early", "copy-waits", "own-waits",
};
static uint64_t counts[KINDS];
#define MARKS 256
static uint64_t marks[MARKS][KINDS];
static int marked;
static const char *mark;
static FILE *launches;
static int capability = 90;
static int devices = 1;

static void count(int kind, uint64_t by) { __atomic_fetch_add(&counts[kind], by, __ATOMIC_RELAXED); }

__attribute__((constructor)) static void begin(void) {
    const char *value = getenv("STANDIN_CAPABILITY");
    if (value) capability = atoi(value);
    if ((value = getenv("STANDIN_DEVICES"))) devices = atoi(value);
    mark = getenv("STANDIN_MARK");
    if ((value = getenv("STANDIN_LAUNCHES"))) launches = fopen(value, "w");
}

__attribute__((destructor)) static void end(void) {
    if (launches) fclose(launches);
    const char *value = getenv("STANDIN_COUNTS");
    FILE *file = value ? fopen(value, "w") : NULL;
    if (!file) return;
    for (int kind = 0; kind < KINDS; kind++) {
        fputs(NAMES[kind], file);
        for (int at = 0; at < marked; at++) fprintf(file, " %llu", (unsigned long long)marks[at][kind]);
        fputs("\n", file);
    }
    fclose(file);
}

// The devices, each with an H100's sizes.

Result cuInit(unsigned flags) { return OK; }
Result cuDriverGetVersion(int *version) { *version = 13020; return OK; }
Result cuDeviceGetCount(int *found) { *found = devices; return OK; }
Result cuDeviceGet(int *device, int index) { *device = index; return index < devices ? OK : NO_SUCH_DEVICE; }
Result cuDeviceGetName(char *name, int room, int device) { snprintf(name, room, "stand-in sm_%d", capability); return OK; }
Result cuDeviceGetUuid(void *uuid, int device) { memset(uuid, device, 16); return OK; }
Result cuDeviceGetUuid_v2(void *uuid, int device) { return cuDeviceGetUuid(uuid, device); }
Result cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = (size_t)80 << 30; return OK; }

Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 1: case 2: case 3: *value = 1024; break;    // threads a block; its sides x and y
    case 4: *value = 64; break;                      // its side z
    case 5: *value = 2147483647; break;              // blocks along x
    case 6: case 7: *value = 65535; break;           // along y and z
    case 8: *value = 48 << 10; break;                // shared memory a block
    case 9: case 12: *value = 65536; break;          // constant memory; registers a block
    case 10: *value = 32; break;                     // threads a warp
    case 16: *value = 132; break;                    // multiprocessors
    case 38: *value = 50 << 20; break;               // second cache
    case 39: *value = 2048; break;                   // threads a multiprocessor
    case 75: *value = capability / 10; break;
    case 76: *value = capability % 10; break;
    case 81: *value = (capability >= 90 ? 228 : 164) << 10; break; // shared memory a multiprocessor
    case 97: *value = (capability >= 90 ? 227 : 163) << 10; break; // the most a block may ask for
    case 106: *value = 32; break;                    // blocks a multiprocessor
    default: *value = 1;
    }
    return OK;
}

// Contexts, streams and events.

static Handle fresh(void) {
    static uintptr_t last = 0x2000;
    return (Handle)__atomic_add_fetch(&last, 16, __ATOMIC_RELAXED);
}

static __thread Handle current;
Result cuDevicePrimaryCtxRetain(Handle *context, int device) { *context = (Handle)(uintptr_t)(0x1000 + 16 * device); return OK; }
Result cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
Result cuCtxSetCurrent(Handle context) { current = context; return OK; }
Result cuCtxGetCurrent(Handle *context) { *context = current; return OK; }
Result cuCtxPushCurrent_v2(Handle context) { return cuCtxSetCurrent(context); }
Result cuCtxPopCurrent_v2(Handle *context) { return cuCtxGetCurrent(context); }
Result cuCtxGetDevice(int *device) { *device = current ? ((uintptr_t)current - 0x1000) / 16 : 0; return OK; }

// A stream, and how far it is. Some are used by one thread alone, so nothing is locked.
struct Stream {
    int kernels, copies;
    int waited;         // for a stream of kernels, since the last upload
    int outstanding;    // no stream of kernels has waited for the last upload yet
    uint64_t uploaded;  // launches of all streams before the last upload
};
struct Event { struct Stream *stream; };
static struct Stream null_stream;
static struct Stream *known(Handle stream) { return stream ? stream : &null_stream; }
static __thread int launches_kernels;

static void waited(struct Stream *stream) {
    if (!stream->kernels && !stream->copies) return;
    count(stream->kernels ? WAITS : COPY_WAITS, 1);
    if (launches_kernels) count(OWN_WAITS, 1);
}
Result cuCtxSynchronize(void) { count(WAITS, 1); return OK; }
Result cuCtxSetLimit(int limit, size_t value) { return OK; }
Result cuCtxGetLimit(size_t *value, int limit) { *value = 0; return OK; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = 0; *greatest = -5; return OK; }
Result cuCtxEnablePeerAccess(Handle context, unsigned flags) { return OK; }
Result cuDeviceCanAccessPeer(int *can, int from, int to) { *can = 0; return OK; }

Result cuStreamCreate(Handle *stream, unsigned flags) { *stream = calloc(1, sizeof(struct Stream)); return OK; }
Result cuStreamCreateWithPriority(Handle *stream, unsigned flags, int priority) { return cuStreamCreate(stream, flags); }
Result cuStreamDestroy_v2(Handle stream) { return OK; }
Result cuStreamSynchronize(Handle stream) { waited(known(stream)); return OK; }
Result cuStreamQuery(Handle stream) { return OK; }
Result cuStreamWaitEvent(Handle stream, Handle event, unsigned flags) {
    struct Stream *waits = known(stream), *other = known(((struct Event *)event)->stream);
    if (!waits->kernels && other->kernels) waits->waited = 1;
    if (waits->kernels && !other->kernels && other->outstanding) {
        other->outstanding = 0;
        count(ARRIVALS, 1);
        count(AHEAD, counts[LAUNCHES] - other->uploaded);
    }
    return OK;
}
Result cuStreamIsCapturing(Handle stream, int *status) { *status = 0; return OK; }
Result cuEventCreate(Handle *event, unsigned flags) { *event = calloc(1, sizeof(struct Event)); return OK; }
Result cuEventRecord(Handle event, Handle stream) { ((struct Event *)event)->stream = known(stream); return OK; }
Result cuEventRecordWithFlags(Handle event, Handle stream, unsigned flags) { return cuEventRecord(event, stream); }
Result cuEventQuery(Handle event) { return OK; }
Result cuEventSynchronize(Handle event) { waited(known(((struct Event *)event)->stream)); return OK; }
Result cuEventDestroy_v2(Handle event) { free(event); return OK; }
Result cuEventElapsedTime(float *ms, Handle from, Handle to) { *ms = 0.1f; return OK; }
Result cuEventElapsedTime_v2(float *ms, Handle from, Handle to) { return cuEventElapsedTime(ms, from, to); }
Result cuLaunchHostFunc(Handle stream, void (*function)(void *), void *data) { function(data); return OK; }

// Memory.

static Result take(Pointer *at, size_t bytes) {
    void *taken = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096 + 4096);
    *at = (Pointer)taken;
    count(ALLOCATED, 1);
    return taken ? OK : OUT_OF_MEMORY;
}
Result cuMemGetInfo_v2(size_t *left, size_t *all) { *left = (size_t)78 << 30; *all = (size_t)80 << 30; return OK; }
Result cuMemAlloc_v2(Pointer *at, size_t bytes) { return take(at, bytes); }
Result cuMemAllocAsync(Pointer *at, size_t bytes, Handle stream) { return take(at, bytes); }
Result cuMemAllocFromPoolAsync(Pointer *at, size_t bytes, Handle pool, Handle stream) { return take(at, bytes); }
Result cuMemFree_v2(Pointer at) { free((void *)at); return OK; }
Result cuMemFreeAsync(Pointer at, Handle stream) { return cuMemFree_v2(at); }
Result cuDeviceGetDefaultMemPool(Handle *pool, int device) { *pool = fresh(); return OK; }
Result cuDeviceGetMemPool(Handle *pool, int device) { return cuDeviceGetDefaultMemPool(pool, device); }
Result cuDeviceSetMemPool(int device, Handle pool) { return OK; }
Result cuMemPoolSetAttribute(Handle pool, int attribute, void *value) { return OK; }
Result cuMemPoolGetAttribute(Handle pool, int attribute, void *value) { *(uint64_t *)value = 0; return OK; }
Result cuMemPoolTrimTo(Handle pool, size_t least) { return OK; }

// Pinned memory, so that what is uploaded from other memory can be told.
static struct Pin { char *at; size_t bytes; struct Pin *next; } *pins;
static pthread_mutex_t pinning = PTHREAD_MUTEX_INITIALIZER;

static Result pin(void *at, size_t bytes) {
    struct Pin *pin = malloc(sizeof *pin);
    if (!pin || !at) return OUT_OF_MEMORY;
    *pin = (struct Pin){at, bytes, NULL};
    pthread_mutex_lock(&pinning);
    pin->next = pins;
    pins = pin;
    pthread_mutex_unlock(&pinning);
    return OK;
}
static void unpin(void *at) {
    pthread_mutex_lock(&pinning);
    for (struct Pin **link = &pins; *link; link = &(*link)->next) {
        struct Pin *pin = *link;
        if (pin->at != at) continue;
        *link = pin->next;
        free(pin);
        break;
    }
    pthread_mutex_unlock(&pinning);
}
static int pinned(const char *at) {
    pthread_mutex_lock(&pinning);
    struct Pin *pin = pins;
    while (pin && !(at >= pin->at && at < pin->at + pin->bytes)) pin = pin->next;
    pthread_mutex_unlock(&pinning);
    return pin != NULL;
}
Result cuMemHostAlloc(void **at, size_t bytes, unsigned flags) { return pin(*at = calloc(1, bytes ? bytes : 1), bytes); }
Result cuMemAllocHost_v2(void **at, size_t bytes) { return cuMemHostAlloc(at, bytes, 0); }
Result cuMemFreeHost(void *at) { unpin(at); free(at); return OK; }
Result cuMemHostRegister_v2(void *at, size_t bytes, unsigned flags) { return pin(at, bytes); }
Result cuMemHostUnregister(void *at) { unpin(at); return OK; }

static void up(const void *from, size_t bytes, struct Stream *stream) {
    stream->copies = 1;
    if (!stream->kernels) {
        count(BESIDE, bytes);
        if (!stream->waited) count(EARLY, 1);
        stream->waited = 0;
        stream->outstanding = 1;
        stream->uploaded = counts[LAUNCHES];
    }
    count(UPLOADS, 1);
    count(UPLOADED, bytes);
    // Smaller ones are taken from any memory at once.
    if (bytes > 1 << 16 && !pinned(from)) count(UNPINNED, bytes);
}
Result cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, Handle stream) {
    up(from, bytes, known(stream));
    memcpy((void *)to, from, bytes);
    return OK;
}
Result cuMemcpyHtoD_v2(Pointer to, const void *from, size_t bytes) { return cuMemcpyHtoDAsync_v2(to, from, bytes, NULL); }
Result cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t bytes, Handle stream) {
    count(READS, 1);
    memset(to, 0, bytes);
    return OK;
}
Result cuMemcpyDtoH_v2(void *to, Pointer from, size_t bytes) { return cuMemcpyDtoHAsync_v2(to, from, bytes, NULL); }
Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, Handle stream) { memmove((void *)to, (void *)from, bytes); return OK; }
Result cuMemcpyDtoD_v2(Pointer to, Pointer from, size_t bytes) { return cuMemcpyDtoDAsync_v2(to, from, bytes, NULL); }
Result cuMemsetD8Async(Pointer at, unsigned char value, size_t bytes, Handle stream) { memset((void *)at, value, bytes); return OK; }
Result cuMemsetD8_v2(Pointer at, unsigned char value, size_t bytes) { return cuMemsetD8Async(at, value, bytes, NULL); }

// A rectangle: where it begins in x bytes and y rows, in memory of a type (1: the host's).
struct Side { size_t x, y; int type; void *host; Pointer device; Handle array; size_t pitch; };
struct Copy { struct Side from, to; size_t width, rows; };
Result cuMemcpy2DAsync_v2(const struct Copy *copy, Handle stream) {
    const struct Side *from = &copy->from, *to = &copy->to;
    const char *source = (from->type == 1 ? from->host : (char *)from->device) + from->y * from->pitch + from->x;
    char *target = (to->type == 1 ? to->host : (char *)to->device) + to->y * to->pitch + to->x;
    if (to->type == 1) count(READS, 1);
    else if (from->type == 1) up(source, copy->width * copy->rows, known(stream));
    for (size_t row = 0; row < copy->rows; row++) {
        if (to->type == 1) memset(target + row * to->pitch, 0, copy->width);
        else memcpy(target + row * to->pitch, source + row * from->pitch, copy->width);
    }
    return OK;
}
Result cuMemcpy2D_v2(const struct Copy *copy) { return cuMemcpy2DAsync_v2(copy, NULL); }

// Kernels: a module is what was loaded, a function its name.

Result cuModuleLoadData(Handle *module, const void *image) { count(LOADED, 1); *module = fresh(); return OK; }
Result cuModuleLoadDataEx(Handle *module, const void *image, unsigned options, void *keys, void *values) { return cuModuleLoadData(module, image); }
Result cuModuleUnload(Handle module) { return OK; }
Result cuModuleGetFunction(Handle *function, Handle module, const char *name) { *function = strdup(name); return OK; }
Result cuFuncSetAttribute(Handle function, int attribute, int value) { return OK; }
Result cuFuncGetAttribute(int *value, int attribute, Handle function) { *value = 0; return OK; }
Result cuFuncSetCacheConfig(Handle function, int config) { return OK; }

static Result launched(const char *name, struct Stream *stream) {
    stream->kernels = launches_kernels = 1;
    count(LAUNCHES, 1);
    if (launches) fprintf(launches, "%s\n", name);
    // One thread launches.
    if (mark && marked < MARKS && !strncmp(name, mark, strlen(mark))) memcpy(marks[marked++], counts, sizeof counts);
    return OK;
}
Result cuLaunchKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, Handle stream, void **arguments, void **extra) { return launched(function, known(stream)); }
// How a kernel is launched: its blocks, their threads, shared memory, and the stream.
struct Launch { unsigned grid[3], block[3], shared; Handle stream; };
Result cuLaunchKernelEx(const struct Launch *config, Handle function, void **arguments, void **extra) { return launched(function, known(config->stream)); }
Result cuLaunchCooperativeKernel(Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                                 unsigned shared, Handle stream, void **arguments) { return launched(function, known(stream)); }
Result cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, Handle function, int threads, size_t shared) { *blocks = 2; return OK; }
Result cuTensorMapEncodeTiled(void) { return OK; }
Result cuTensorMapEncodeIm2col(void) { return OK; }
Result cuTensorMapEncodeIm2colWide(void) { return OK; }

Result cuGetErrorString(int error, const char **text) { *text = "the stand-in refused"; return OK; }
Result cuGetErrorName(int error, const char **name) { *name = "STANDIN"; return OK; }
Result cuGetProcAddress_v2(const char *name, Handle *function, int version, uint64_t flags, void *status) { *function = NULL; return NOT_FOUND; }
