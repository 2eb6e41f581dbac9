/* Speed of the catalog: batches into the WAL, scans, and fetches of many rows.
 *
 * Prints CSV, `name,rows,dimensions,batch,seconds,cpu_seconds,rows_per_s`; one line a measurement. Arguments:
 * rows (117000), dimensions (256), batch (500), folder (a new one below $TMPDIR or /tmp, removed).
 * Items have 80 bytes of text and 100 of metadata with two declared fields; keys are random.
 */
#include "bench/head.h"

#include "base/arena.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/thread.h"
#include "catalog/catalog.h"
#include "catalog/learning.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static struct rng rng;
static size_t n_rows = 117000, dimensions = 256, batch = 500;

static void die(const char *what, const struct err *e)
{
    (void)fprintf(stderr, "bench_catalog: %s: %s\n", what, e->msg);
    exit(1);
}

struct since {
    int64_t wall_ns, cpu_ns;
};

static struct since start_now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (struct since){ time_mono_ns(), t.tv_sec * NS_PER_S + t.tv_nsec };
}

static void report(const char *name, size_t rows, struct since since)
{
    struct since now = start_now();
    double wall = (double)(now.wall_ns - since.wall_ns) / 1e9;
    double cpu = (double)(now.cpu_ns - since.cpu_ns) / 1e9;
    (void)printf("%s,%zu,%zu,%zu,%.4f,%.4f,%.0f\n", name, rows, dimensions, batch, wall, cpu,
        (double)rows / wall);
}

static size_t make_key(size_t i, char ret[32])
{
    uint64_t h = (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)snprintf(ret, 32, "id-%016llx", (unsigned long long)h);
}

static enum err_code put_one(struct catalog *c, const struct catalog_collection *col, size_t i,
    unsigned version, struct arena *a, float *vector, struct err *e)
{
    char key[32], text[96], metadata[128];
    struct catalog_put put = { .vector = vector };
    struct catalog_put_result r;
    struct field_value *values;
    put.key = (struct str){ key, make_key(i, key) };
    put.text = (struct str){ text,
        (size_t)snprintf(text, sizeof text, "item %08zu version %u %054d", i, version, 0) };
    put.metadata = (struct str){ metadata,
        (size_t)snprintf(metadata, sizeof metadata,
            "{\"year\":%zu,\"tag\":\"t%zu\",\"note\":\"%060d\"}", 1900 + i % 120, i % 50, 0) };
    memcpy(put.content_hash, &i, sizeof i);
    memcpy(put.content_hash + sizeof i, &version, sizeof version);
    memcpy(put.metadata_hash, &i, sizeof i);
    for (size_t d = 0; d < dimensions; d++)
        vector[d] = (float)((i * 31 + d * 7 + version) % 1000) / 1000.0F;
    TRY(catalog_fields_extract(c, col, put.metadata, a, &values, &put.n_values, e));
    put.values = values;
    return catalog_item_put(c, col, &col->serving, &put, a, &r, e);
}

static void import(
    struct catalog *c, const struct catalog_collection *col, unsigned version, const char *name)
{
    struct err e = ERR_INIT;
    struct arena *a = arena_new(1 << 16, 0);
    float *vector = mem_alloc(dimensions, sizeof *vector);
    struct since start = start_now();
    if (!a || !vector) die("memory", &e);
    for (size_t i = 0; i < n_rows;) {
        enum err_code code = catalog_begin(c, &e);
        if (code == ERR_OK) code = catalog_savepoint(c, &e);
        for (size_t b = 0; b < batch && i < n_rows && code == ERR_OK; b++, i++)
            code = put_one(c, col, i, version, a, vector, &e);
        if (code == ERR_OK) code = catalog_release(c, &e);
        if (code == ERR_OK) code = catalog_commit(c, &e);
        if (code != ERR_OK) die(name, &e);
        arena_clear(a);
    }
    report(name, n_rows, start);
    mem_free(vector);
    arena_free(a);
}

struct sum {
    size_t n;
    double total;
};

static enum err_code each_vector(void *arg, uint32_t slot, const float *vector, struct err *e)
{
    struct sum *s = arg;
    (void)slot;
    (void)e;
    s->n++;
    s->total += vector[0];
    return ERR_OK;
}

static enum err_code each_value(
    void *arg, uint32_t slot, const struct field_value *v, struct err *e)
{
    struct sum *s = arg;
    (void)v;
    (void)e;
    s->n++;
    s->total += slot;
    return ERR_OK;
}

static enum err_code each_slot(void *arg, uint32_t slot, struct err *e)
{
    struct sum *s = arg;
    (void)e;
    s->n++;
    s->total += slot;
    return ERR_OK;
}

static void scans(struct catalog *c, const struct catalog_collection *col)
{
    struct err e = ERR_INIT;
    for (int round = 0; round < 2; round++) {
        struct sum s = { 0 };
        struct since start = start_now();
        if (catalog_vectors_scan(c, &col->serving, each_vector, &s, &e) != ERR_OK) die("scan", &e);
        report(round ? "vectors_scan_again" : "vectors_scan", s.n, start);
    }
    struct sum s = { 0 };
    struct since start = start_now();
    if (catalog_fields_scan(c, col, each_value, &s, &e) != ERR_OK) die("scan", &e);
    report("fields_scan", s.n, start);
    s = (struct sum){ 0 };
    start = start_now();
    if (catalog_path_scan(c, col, STR("note"), 0, each_value, &s, &e) != ERR_OK) die("scan", &e);
    report("path_scan", s.n, start);
    s = (struct sum){ 0 };
    start = start_now();
    if (catalog_slots_scan(c, col, each_slot, &s, &e) != ERR_OK) die("scan", &e);
    report("slots_scan", s.n, start);
}

static void fetches(struct catalog *c, const struct catalog_collection *col, size_t n,
    unsigned with, const char *name)
{
    enum { ROUNDS = 20 };
    struct err e = ERR_INIT;
    struct arena *a = arena_new(1 << 20, 0);
    uint32_t *slots = mem_alloc(n, sizeof *slots);
    struct catalog_item *rows = mem_alloc(n, sizeof *rows);
    struct since start = start_now();
    if (!a || !slots || !rows) die("memory", &e);
    for (int round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < n; i++)
            slots[i] = (uint32_t)rng_below(&rng, n_rows);
        if (catalog_items_by_slot(c, col, &col->serving, slots, n, with, a, rows, &e) != ERR_OK)
            die(name, &e);
        arena_clear(a);
    }
    report(name, n * ROUNDS, start);
    mem_free(slots);
    mem_free(rows);
    arena_free(a);
}

static void probes(struct catalog *c, const struct catalog_collection *col)
{
    struct err e = ERR_INIT;
    char keys[500][32];
    struct str names[500];
    struct catalog_probe out[500];
    struct since start = start_now();
    for (size_t i = 0; i + 500 <= n_rows && i < 50000; i += 500) {
        for (size_t j = 0; j < 500; j++)
            names[j] = (struct str){ keys[j], make_key(i + j, keys[j]) };
        if (catalog_probe(c, col, names, 500, out, &e) != ERR_OK) die("probe", &e);
    }
    report("probe", n_rows < 50000 ? n_rows : 50000, start);
}

/* A second generation, page by page, and the swap: what a promotion costs without its encoder. */
static void rebuild(struct catalog *c, const struct catalog_collection *col)
{
    enum { PAGE = 1000 };
    struct err e = ERR_INIT;
    struct arena *a = arena_new(1 << 20, 0);
    float *vector = mem_zalloc(dimensions, sizeof *vector);
    struct catalog_vector_put *puts = mem_alloc(PAGE, sizeof *puts);
    struct catalog_run run = { .collection_id = col->id, .kind = RUN_TRAIN, .from_version = 1 };
    struct catalog_version version = { .parent_version = 1 };
    struct catalog_generation gen = { .model_name = STR("bench/2"), .dimensions = dimensions };
    struct catalog_change *rows;
    size_t n, total = 0;
    if (!a || !vector || !puts) die("memory", &e);
    if (catalog_run_create(c, &run, &e) != ERR_OK) die("run", &e);
    version.run_id = run.id;
    if (catalog_version_create(c, col, &version, &e) != ERR_OK) die("version", &e);
    gen.model_version = version.version;
    if (catalog_generation_create(c, col, &gen, &e) != ERR_OK) die("generation", &e);
    struct since start = start_now();
    for (int64_t seq = 0;; seq = rows[n - 1].seq, total += n) {
        if (catalog_changes_page(c, col, seq, PAGE, a, &rows, &n, &e) != ERR_OK) die("page", &e);
        if (n == 0) break;
    }
    report("changes_page", total, start);
    start = start_now();
    while (true) {
        arena_clear(a);
        if (catalog_changes_page(c, col, gen.seq, PAGE, a, &rows, &n, &e) != ERR_OK)
            die("page", &e);
        if (n == 0) break;
        for (size_t i = 0; i < n; i++)
            puts[i] = (struct catalog_vector_put){ rows[i].slot, rows[i].seq, vector, false };
        gen.seq = rows[n - 1].seq;
        if (catalog_generation_put(c, col, &gen, puts, n, gen.seq, &e) != ERR_OK) die("put", &e);
    }
    report("generation_put", total, start);
    start = start_now();
    if (catalog_generation_serve(c, col, &gen, run.id, &gen.seq, &e) != ERR_OK) die("serve", &e);
    report("generation_serve", 1, start);
    mem_free(vector);
    mem_free(puts);
    arena_free(a);
}

int main(int argc, char **argv)
{
    struct err e = ERR_INIT;
    char folder[256], path[300];
    struct catalog *c;
    const struct catalog_field fields[] = { { STR("year"), FIELD_INTEGER },
        { STR("tag"), FIELD_STRING } };
    if (argc > 1) n_rows = strtoul(argv[1], NULL, 10);
    if (argc > 2) dimensions = strtoul(argv[2], NULL, 10);
    if (argc > 3) batch = strtoul(argv[3], NULL, 10);
    rng_init(&rng, 7);
    const char *base = argc > 4 ? argv[4] : getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/bench_catalog_XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(folder)) die(folder, &e);
    (void)snprintf(path, sizeof path, "%s/catalog.db", folder);
    struct catalog_collection col = { .name = STR("bench"),
        .m = 16,
        .ef_construction = 200,
        .ef_search = 64,
        .fields = fields,
        .n_fields = 2,
        .serving = { .model_name = STR("bench"), .model_version = 1, .dimensions = dimensions } };
    bench_head();
    (void)printf("name,rows,dimensions,batch,seconds,cpu_seconds,rows_per_s\n");
    if (catalog_open(path, &c, &e) != ERR_OK) die("open", &e);
    if (catalog_collection_create(c, &col, &e) != ERR_OK) die("create", &e);
    import(c, &col, 1, "insert");
    scans(c, &col);
    fetches(c, &col, 10, ITEM_WITH_TEXT | ITEM_WITH_METADATA, "by_slot_10");
    fetches(c, &col, 10000, ITEM_WITH_TEXT | ITEM_WITH_METADATA, "by_slot_10000");
    fetches(c, &col, 1000, ITEM_WITH_VECTOR, "by_slot_1000_vector");
    probes(c, &col);
    import(c, &col, 1, "unchanged");
    import(c, &col, 2, "replace");
    rebuild(c, &col);
    (void)printf("size_bytes,%zu,%zu,%zu,0,0,0\n", catalog_size_bytes(c), dimensions, batch);
    struct since start = start_now();
    if (catalog_collection_delete(c, col.id, &e) != ERR_OK) die("delete", &e);
    report("collection_delete", n_rows, start);
    catalog_close(c);
    static const char *const files[] = { "", "-wal", "-shm", ".lock" };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char file[320];
        (void)snprintf(file, sizeof file, "%s%s", path, files[i]);
        (void)unlink(file);
    }
    (void)rmdir(folder);
    return 0;
}
