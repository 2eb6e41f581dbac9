#include "bench/head.h"

#include "base/thread.h"
#include "base/vecmath.h"

#include "version.h"

#include <string.h>

/* "model name : AMD EPYC" of /proc/cpuinfo; "unknown" where there is none. */
static void processor(char *ret, size_t size)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");

    snprintf(ret, size, "unknown");
    while (f && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon) continue;
        snprintf(ret, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (f) fclose(f);
}

void bench_head_to(FILE *f)
{
    char name[128];

    processor(name, sizeof name);
    fprintf(f, "# machine=\"%s\" cores=%u kernels=%s commit=%s compiler=\"%s\"\n", name,
        thread_cores(), vec_select(VEC_BEST)->name, KINDRED_COMMIT, __VERSION__);
}

void bench_head(void)
{
    bench_head_to(stdout);
}
