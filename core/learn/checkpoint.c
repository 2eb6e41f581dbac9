/* Format: a safetensors file with the tensors of trainable_state_get and U8 [n] "run" (little-endian):
 *
 *   offset  size  meaning
 *   0       8     "KINDTRN1"
 *   8       8     fingerprint of the run
 *   16      8     hash of the other tensors' bytes, in the model's order
 *   24      8     n, lines of the log
 *   32      8*F   fields of train_state in the order of FIELDS, doubles as their bits
 *   …       64*n  lines of the log: step, then seven doubles
 *   …       8     hash of all that stands before it
 */
#include "core/learn/checkpoint.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/map.h"
#include "base/mem.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char MAGIC[8] = { 'K', 'I', 'N', 'D', 'T', 'R', 'N', '1' };
enum { RECORD_VALUES = 8, STATE_VALUES = 24 };

static uint64_t bits_of(double v)
{
    uint64_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

static double double_of(uint64_t bits)
{
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void put_u64(struct buf *b, uint64_t v)
{
    unsigned char bytes[8];
    for (unsigned i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(v >> (8 * i));
    buf_append(b, bytes, sizeof bytes);
}

static void state_to_values(const struct train_state *s, uint64_t v[STATE_VALUES])
{
    const struct train_window *w = &s->window;
    const uint64_t all[STATE_VALUES] = { (uint64_t)s->step, (uint64_t)s->steps, s->fitted,
        bits_of(s->seconds), s->cursor.rng.s[0], s->cursor.rng.s[1], s->cursor.rng.s[2],
        s->cursor.rng.s[3], s->cursor.epoch.s[0], s->cursor.epoch.s[1], s->cursor.epoch.s[2],
        s->cursor.epoch.s[3], s->cursor.epoch_at, bits_of(w->seconds), bits_of(w->loss),
        bits_of(w->pair_loss), bits_of(w->distill_loss), bits_of(w->anchor_loss),
        (uint64_t)w->n_steps, (uint64_t)w->n_pair, (uint64_t)w->n_distill, (uint64_t)w->n_anchor,
        (uint64_t)w->pairs, 0 };
    memcpy(v, all, sizeof all);
}

static struct train_state state_of_values(const uint64_t v[STATE_VALUES])
{
    return (struct train_state){
        .step = (int64_t)v[0],
        .steps = (int64_t)v[1],
        .fitted = v[2] != 0,
        .seconds = double_of(v[3]),
        .cursor = { { { v[4], v[5], v[6], v[7] } }, { { v[8], v[9], v[10], v[11] } }, v[12] },
        .window = { double_of(v[13]), double_of(v[14]), double_of(v[15]), double_of(v[16]),
            double_of(v[17]), (int64_t)v[18], (int64_t)v[19], (int64_t)v[20], (int64_t)v[21],
            (int64_t)v[22] },
    };
}

static void put_record(struct buf *b, const struct train_record *r)
{
    const double values[RECORD_VALUES - 1] = { r->seconds, r->rate, r->loss, r->pair_loss,
        r->distill_loss, r->anchor_loss, r->pairs_per_second };
    put_u64(b, (uint64_t)r->step);
    for (size_t i = 0; i < RECORD_VALUES - 1; i++)
        put_u64(b, bits_of(values[i]));
}

static struct train_record read_record(struct le_reader *r)
{
    uint64_t v[RECORD_VALUES];
    for (size_t i = 0; i < RECORD_VALUES; i++)
        v[i] = le_u64(r);
    return (struct train_record){ (int64_t)v[0], double_of(v[1]), double_of(v[2]), double_of(v[3]),
        double_of(v[4]), double_of(v[5]), double_of(v[6]), double_of(v[7]) };
}

/* ---- writing ---- */

static enum err_code make_run(struct buf *b, uint64_t fingerprint, const struct trainable *t,
    const struct train_state *state, const struct train_log *log, struct err *e)
{
    uint64_t values[STATE_VALUES];
    state_to_values(state, values);
    buf_append(b, MAGIC, sizeof MAGIC);
    put_u64(b, fingerprint);
    put_u64(b, trainable_hash(t));
    put_u64(b, log->n);
    for (size_t i = 0; i < STATE_VALUES; i++)
        put_u64(b, values[i]);
    for (size_t i = 0; i < log->n; i++)
        put_record(b, &log->records[i]);
    TRY(buf_check(b, e));
    put_u64(b, hash_bytes(b->p, b->n, 0));
    return buf_check(b, e);
}

enum err_code checkpoint_write(const char *path, uint64_t fingerprint, const struct trainable *t,
    const struct train_state *state, const struct train_log *log, struct err *e)
{
    struct safetensor_out tensors[TRAINABLE_STATE_MAX + 1];
    struct buf run = BUF_INIT(0);
    size_t n = trainable_state_count(t);
    ASSERT_BUG(n <= TRAINABLE_STATE_MAX);
    enum err_code code = make_run(&run, fingerprint, t, state, log, e);
    if (code == ERR_OK) {
        for (size_t i = 0; i < n; i++)
            trainable_state_get(t, i, &tensors[i]);
        tensors[n] = (struct safetensor_out){ "run", DTYPE_U8, 1, { run.n }, run.p };
        code = safetensors_write(path, tensors, n + 1, e);
    }
    buf_done(&run);
    return code;
}

/* ---- reading ---- */

static enum err_code damaged(struct err *e)
{
    return err_set(e, ERR_CORRUPT, "the checkpoint is damaged");
}

static enum err_code read_run(const struct safetensor *run, uint64_t fingerprint,
    uint64_t *ret_model_hash, struct train_state *ret_state, struct train_log *ret_log,
    struct err *e)
{
    enum { FIXED = 8 * (4 + STATE_VALUES), CHECK = 8 };
    if (!run || run->dtype != DTYPE_U8 || run->size_bytes < FIXED + CHECK ||
        memcmp(run->data, MAGIC, sizeof MAGIC) != 0)
        return err_set(e, ERR_CORRUPT, "not a checkpoint of this version of the program");
    struct le_reader r = { .p = run->data, .n = run->size_bytes - CHECK, .at = sizeof MAGIC };
    struct le_reader check = { .p = run->data, .n = run->size_bytes, .at = r.n };
    if (le_u64(&check) != hash_bytes(run->data, r.n, 0)) return damaged(e);
    if (le_u64(&r) != fingerprint)
        return err_set(e, ERR_CORRUPT,
            "the checkpoint is of a run with other options, files or another model");
    *ret_model_hash = le_u64(&r);
    uint64_t n = le_u64(&r), values[STATE_VALUES];
    for (size_t i = 0; i < STATE_VALUES; i++)
        values[i] = le_u64(&r);
    if ((r.n - r.at) % (8 * RECORD_VALUES) != 0 || n != (r.n - r.at) / (8 * RECORD_VALUES))
        return damaged(e);
    *ret_state = state_of_values(values);
    if (ret_state->step < 0 || ret_state->steps < ret_state->step) return damaged(e);
    for (uint64_t i = 0; i < n; i++) {
        struct train_record record = read_record(&r);
        TRY(train_log_add(ret_log, &record, e));
    }
    return ERR_OK;
}

enum err_code checkpoint_read(const char *path, uint64_t fingerprint, struct trainable *t,
    struct train_state *ret_state, struct train_log *ret_log, struct err *e)
{
    struct safetensors *s = NULL;
    uint64_t model_hash = 0;
    TRY(safetensors_open(path, &s, e));
    enum err_code code =
        read_run(safetensors_find(s, "run"), fingerprint, &model_hash, ret_state, ret_log, e);
    if (code == ERR_OK) code = trainable_state_put(t, s, e);
    if (code == ERR_OK && trainable_hash(t) != model_hash) code = damaged(e);
    safetensors_close(s);
    if (code != ERR_OK && e) err_wrap(e, "%s", path);
    return code;
}

void checkpoint_tidy(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char folder[PATH_MAX], left[PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    DIR *d = opendir(folder);
    struct dirent *entry;
    size_t n = strlen(name);
    while (d && (entry = readdir(d)) != NULL) {
        if (strncmp(entry->d_name, name, n) != 0 || strncmp(entry->d_name + n, ".tmp.", 5) != 0)
            continue;
        int len = snprintf(left, sizeof left, "%s/%s", folder, entry->d_name);
        if (len > 0 && (size_t)len < sizeof left) unlink(left);
    }
    if (d) closedir(d);
}
