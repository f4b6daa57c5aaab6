// A stand-in for CUDA's compiler, for counting what a program asks of a device without waiting for it.
//
// Nothing is compiled: each program is kept as it came, so that the real compiler can be given all of
// them afterwards, each once and several at a time.
//
//   STANDIN_PROGRAMS  folder that gets every program, by its hash, with its options in a file of lines
//                     beside it, and a line in `asked` for each time that it was to be compiled
//
//   cc -O2 -shared -fPIC -o libnvrtc.so nvrtc.c
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK 0
#define OUT_OF_MEMORY 1

typedef int Result;
typedef char *Program;

static const char PTX[] = "// not compiled\n";

static uint64_t hash(uint64_t seed, const char *text) {
    for (; *text; text++) seed = (seed ^ (unsigned char)*text) * 1099511628211u;
    return seed;
}

static FILE *open_in(const char *folder, const char *name, const char *mode) {
    char path[4096];
    if (!folder || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return NULL;
    return fopen(path, mode);
}

Result nvrtcVersion(int *major, int *minor) { *major = 13; *minor = 0; return OK; }
const char *nvrtcGetErrorString(Result result) { return "the stand-in refused"; }

Result nvrtcCreateProgram(Program *program, const char *source, const char *name, int headers,
                          const char *const *texts, const char *const *names) {
    *program = strdup(source);
    return *program ? OK : OUT_OF_MEMORY;
}
Result nvrtcDestroyProgram(Program *program) { free(*program); *program = NULL; return OK; }

Result nvrtcCompileProgram(Program program, int count, const char *const *options) {
    const char *folder = getenv("STANDIN_PROGRAMS");
    uint64_t digest = hash(14695981039346656037u, program);
    for (int i = 0; i < count; i++) digest = hash(digest, options[i]);
    char name[64];
    snprintf(name, sizeof name, "%016llx.options", (unsigned long long)digest);
    FILE *file = open_in(folder, name, "w");
    if (file) {
        for (int i = 0; i < count; i++) fprintf(file, "%s\n", options[i]);
        fclose(file);
    }
    snprintf(name, sizeof name, "%016llx.cu", (unsigned long long)digest);
    if ((file = open_in(folder, name, "w"))) { fputs(program, file); fclose(file); }
    if ((file = open_in(folder, "asked", "a"))) { fprintf(file, "%s\n", name); fclose(file); }
    return OK;
}

Result nvrtcGetPTXSize(Program program, size_t *bytes) { *bytes = sizeof PTX; return OK; }
Result nvrtcGetPTX(Program program, char *ptx) { memcpy(ptx, PTX, sizeof PTX); return OK; }
Result nvrtcGetProgramLogSize(Program program, size_t *bytes) { *bytes = 1; return OK; }
Result nvrtcGetProgramLog(Program program, char *text) { *text = 0; return OK; }
