/* Reading happens once: files are mapped, a line is cut at its TABs, and each field that was not seen before is
 * tokenised. Two maps, both used while loading only, say what was seen: fields by their bytes (they point
 * into the mappings), and texts by their token ids. A map's key is a hash; where another content has
 * the same one, the next key up is tried.
 */
#include "core/learn/train_data.h"

#include "base/fileio.h"
#include "base/map.h"
#include "base/mem.h"
#include "core/text/tokenizer.h"

#include <math.h>
#include <string.h>

enum { NO_TEXT = UINT32_MAX, TEXTS_MAX = UINT32_MAX - 1 };

/* A field of a line that was tokenised, and what came of it. */
struct seen {
    struct str bytes;
    enum encode_kind kind; /* DOCUMENT also for queries, where both have the same prompt */
    uint32_t text;         /* NO_TEXT: no known token */
};

struct loader {
    const struct trainable *t;
    struct train_data *d;
    size_t max_tokens;
    struct tokenizer_scratch *scratch;
    struct token_ids ids;
    struct str prompts[2]; /* by enum encode_kind */
    bool one_kind;         /* both are equal */
    char *prompted;        /* prompt and field, room for prompted_cap */
    size_t prompted_cap;
    struct u64_map by_bytes, by_ids;
    struct seen *seen;
    size_t n_seen, seen_cap, ids_cap, starts_cap;
    struct file_map *maps; /* [n_pairs + n_taught], open until all is read */
    size_t n_maps;
};

/* ---- arrays that grow ---- */

/* Room for n elements at least; *p keeps what it holds. */
static enum err_code room(void *pp, size_t *cap, size_t n, size_t size, struct err *e)
{
    if (n <= *cap) return ERR_OK;
    void *p;
    size_t more = *cap + *cap / 2 + 256;
    if (more < n) more = n;
    memcpy(&p, pp, sizeof p);
    void *grown = mem_realloc(p, more, size);
    if (!grown) return err_set(e, ERR_NOMEM, "no memory for the training texts");
    memcpy(pp, &grown, sizeof grown);
    *cap = more;
    return ERR_OK;
}

/* ---- texts ---- */

static bool same_ids(const struct train_texts *x, uint32_t text, const struct token_ids *ids)
{
    size_t begin = x->starts[text], n = x->starts[text + 1] - begin;
    return n == ids->n && memcmp(x->ids + begin, ids->ids, n * sizeof *ids->ids) == 0;
}

static enum err_code add_text(struct loader *l, uint64_t key, uint32_t *ret_text, struct err *e)
{
    struct train_texts *x = &l->d->texts;
    size_t begin = x->starts[x->n], n = l->ids.n;
    if (x->n >= TEXTS_MAX) return err_set(e, ERR_LIMIT, "more than %u texts", TEXTS_MAX);
    TRY(room(&x->ids, &l->ids_cap, begin + n, sizeof *x->ids, e));
    TRY(room(&x->starts, &l->starts_cap, x->n + 2, sizeof *x->starts, e));
    if (u64_map_set(&l->by_ids, key, (uint32_t)x->n) != ERR_OK)
        return err_set(e, ERR_NOMEM, "no memory for the training texts");
    memcpy(x->ids + begin, l->ids.ids, n * sizeof *x->ids);
    x->starts[x->n + 1] = begin + n;
    *ret_text = (uint32_t)x->n++;
    return ERR_OK;
}

static enum err_code text_of_ids(struct loader *l, uint32_t *ret_text, struct err *e)
{
    uint64_t key = hash_bytes(l->ids.ids, l->ids.n * sizeof *l->ids.ids, 2);
    for (; u64_map_get(&l->by_ids, key, ret_text); key++)
        if (same_ids(&l->d->texts, *ret_text, &l->ids)) return ERR_OK;
    return add_text(l, key, ret_text, e);
}

/* The field's tokens, those of the prompt before it included, into l->ids; as encoders do it. */
static enum err_code tokenise(
    struct loader *l, struct str field, enum encode_kind kind, struct err *e)
{
    const struct tokenizer *tokenizer = trainable_tokenizer(l->t);
    const struct str prompt = l->prompts[kind];
    size_t n;
    l->ids.want_spans = prompt.n > 0;
    if (prompt.n == 0)
        return tokenizer_encode(tokenizer, field, l->max_tokens, l->scratch, &l->ids, e);
    if (!mem_add(prompt.n, field.n, &n)) return err_set(e, ERR_NOMEM, "the text is too long");
    TRY(room(&l->prompted, &l->prompted_cap, n, 1, e));
    memcpy(l->prompted, prompt.p, prompt.n);
    if (field.n) memcpy(l->prompted + prompt.n, field.p, field.n);
    const struct str both = { l->prompted, n };
    enum err_code code = tokenizer_encode(tokenizer, both, l->max_tokens, l->scratch, &l->ids, e);
    if (code != ERR_INVALID) return code;
    /* Once more, so that the message counts the field's own bytes. */
    TRY(tokenizer_encode(tokenizer, field, l->max_tokens, l->scratch, &l->ids, e));
    return code;
}

/* Is there something to learn from in the tokens, beside those of the prompt? */
static bool has_own(const struct loader *l, enum encode_kind kind)
{
    if (l->prompts[kind].n == 0) return trainable_knows(l->t, l->ids.ids, l->ids.n);
    for (size_t i = 0; i < l->ids.n; i++)
        if (l->ids.spans[i].end > l->prompts[kind].n && trainable_knows(l->t, &l->ids.ids[i], 1))
            return true;
    return false;
}

static enum err_code text_of_field(
    struct loader *l, struct str field, enum encode_kind kind, uint32_t *ret_text, struct err *e)
{
    if (l->one_kind) kind = ENCODE_DOCUMENT;
    uint64_t key = hash_bytes(field.p, field.n, kind == ENCODE_QUERY ? 3 : 1);
    uint32_t at, text = NO_TEXT;
    for (; u64_map_get(&l->by_bytes, key, &at); key++) {
        if (l->seen[at].kind != kind || !str_eq(l->seen[at].bytes, field)) continue;
        *ret_text = l->seen[at].text;
        return ERR_OK;
    }
    TRY(tokenise(l, field, kind, e));
    if (has_own(l, kind)) TRY(text_of_ids(l, &text, e));
    if (l->n_seen >= TEXTS_MAX) return err_set(e, ERR_LIMIT, "more than %u texts", TEXTS_MAX);
    TRY(room(&l->seen, &l->seen_cap, l->n_seen + 1, sizeof *l->seen, e));
    if (u64_map_set(&l->by_bytes, key, (uint32_t)l->n_seen) != ERR_OK)
        return err_set(e, ERR_NOMEM, "no memory for the training texts");
    l->seen[l->n_seen++] = (struct seen){ field, kind, text };
    *ret_text = text;
    return ERR_OK;
}

/* ---- lines ---- */

/* What stands before the next `end`, or before the end of *rest; *rest then begins after it. */
static struct str cut(struct str *rest, char end)
{
    const char *at = rest->n ? memchr(rest->p, end, rest->n) : NULL;
    struct str part = { rest->p, at ? (size_t)(at - rest->p) : rest->n };
    size_t used = at ? part.n + 1 : part.n;
    *rest = (struct str){ rest->p + used, rest->n - used };
    return part;
}

static struct str next_line(struct str *rest)
{
    struct str line = cut(rest, '\n');
    if (line.n && line.p[line.n - 1] == '\r') line.n--;
    return line;
}

struct row_caps {
    size_t texts, rows;
};

/* Appends the row, or nothing. */
static enum err_code pair_line(
    struct loader *l, struct train_rows *r, struct row_caps *cap, struct str line, struct err *e)
{
    size_t begin = r->starts[r->n], n = 0;
    bool has_tab = line.n && memchr(line.p, '\t', line.n);
    if (line.n && !has_tab) return err_set(e, ERR_INVALID, "no TAB between anchor and positive");
    bool more = line.n > 0;
    for (size_t field = 0; more; field++) {
        uint32_t text = NO_TEXT;
        const char *line_end = line.p + line.n;
        struct str part = cut(&line, '\t');
        more = part.p + part.n < line_end;
        TRY(text_of_field(l, part, field == 0 ? ENCODE_QUERY : ENCODE_DOCUMENT, &text, e));
        if (text == NO_TEXT && field < 2) {
            n = 0;
            break;
        }
        if (text == NO_TEXT) continue;
        TRY(room(&r->texts, &cap->texts, begin + n + 1, sizeof *r->texts, e));
        r->texts[begin + n++] = text;
    }
    if (n == 0) return ERR_OK;
    TRY(room(&r->starts, &cap->rows, r->n + 2, sizeof *r->starts, e));
    r->starts[++r->n] = begin + n;
    return ERR_OK;
}

static enum err_code taught_line(struct loader *l, struct train_rows *r, struct row_caps *cap,
    struct str line, size_t at, struct err *e)
{
    uint32_t text = NO_TEXT;
    TRY(text_of_field(l, line, ENCODE_DOCUMENT, &text, e));
    if (text == NO_TEXT) return ERR_OK;
    TRY(room(&r->texts, &cap->texts, r->n + 1, sizeof *r->texts, e));
    TRY(room(&r->lines, &cap->rows, r->n + 1, sizeof *r->lines, e));
    r->texts[r->n] = text;
    r->lines[r->n++] = (uint32_t)at;
    return ERR_OK;
}

static enum err_code read_lines(
    struct loader *l, struct train_rows *r, struct str rest, const char *path, struct err *e)
{
    struct row_caps cap = { 0, 0 };
    size_t n_lines = 0, n_kept = 0;
    if (!r->vectors) {
        TRY(room(&r->starts, &cap.rows, 1, sizeof *r->starts, e));
        r->starts[0] = 0;
    }
    for (; rest.n > 0; n_lines++) {
        struct str line = next_line(&rest);
        size_t n_before = r->n;
        enum err_code code =
            r->vectors ? taught_line(l, r, &cap, line, n_lines, e) : pair_line(l, r, &cap, line, e);
        if (code != ERR_OK) {
            if (e) err_wrap(e, "%s, line %zu", path, n_lines + 1);
            return code;
        }
        n_kept += r->n > n_before;
    }
    l->d->skipped += n_lines - n_kept;
    if (r->vectors && npy_rows(r->vectors) != n_lines)
        return err_set(e, ERR_INVALID, "%s has %zu lines, but there are %zu vectors", path, n_lines,
            npy_rows(r->vectors));
    if (r->n == 0) return err_set(e, ERR_INVALID, "%s has no line to learn from", path);
    if (r->n > UINT32_MAX) return err_set(e, ERR_LIMIT, "%s has too many lines", path);
    return ERR_OK;
}

/* ---- files ---- */

static enum err_code read_vectors(
    struct loader *l, const struct train_file *f, struct train_rows *r, struct err *e)
{
    struct file_map map = { NULL, 0 };
    TRY(npy_open(f->vectors, &r->vectors, e));
    TRY(npy_check_finite(r->vectors, e));
    TRY(file_map_open(f->vectors, &map, e));
    l->d->hash = hash_bytes(map.p, map.n, l->d->hash);
    file_map_close(&map);
    if (npy_rows(r->vectors) > UINT32_MAX || npy_columns(r->vectors) == 0)
        return err_set(e, ERR_INVALID, "%s: no vectors that can be used", f->vectors);
    return ERR_OK;
}

static enum err_code read_file(
    struct loader *l, const struct train_file *f, struct train_rows *r, struct err *e)
{
    static const char bom[] = "\xEF\xBB\xBF";
    struct file_map *map = &l->maps[l->n_maps];
    TRY(file_map_open(f->path, map, e));
    l->n_maps++;
    l->d->hash = hash_bytes(map->p, map->n, l->d->hash);
    if (f->vectors) TRY(read_vectors(l, f, r, e));
    struct str text = { (const char *)map->p, map->n };
    if (text.n >= 3 && memcmp(text.p, bom, 3) == 0) text = (struct str){ text.p + 3, text.n - 3 };
    return read_lines(l, r, text, f->path, e);
}

static void set_shares(struct train_rows *rows, const struct train_file *files, size_t n,
    const struct train_files *all)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        rows[i].share =
            files[i].weight * pow(fmin((double)rows[i].n, all->row_cap), all->row_power);
        sum += rows[i].share;
    }
    for (size_t i = 0; i < n; i++)
        rows[i].share /= sum;
}

static void set_prompts(struct loader *l)
{
    for (int kind = 0; kind < 2; kind++) {
        l->prompts[kind] = str_from(trainable_prompt(l->t, (enum encode_kind)kind));
        if (l->prompts[kind].n)
            l->d->hash =
                hash_bytes(l->prompts[kind].p, l->prompts[kind].n, l->d->hash + (uint64_t)kind);
    }
    l->one_kind = str_eq(l->prompts[ENCODE_QUERY], l->prompts[ENCODE_DOCUMENT]);
}

static enum err_code read_all(struct loader *l, const struct train_files *files, struct err *e)
{
    struct train_data *d = l->d;
    size_t own = trainable_max_tokens(l->t);
    l->max_tokens =
        files->max_tokens && (own == 0 || files->max_tokens < own) ? files->max_tokens : own;
    l->ids.no_specials = !trainable_special_tokens(l->t);
    set_prompts(l);
    l->scratch = tokenizer_scratch_new();
    l->maps = mem_zalloc(files->n_pairs + files->n_taught, sizeof *l->maps);
    d->pairs = mem_zalloc(files->n_pairs, sizeof *d->pairs);
    d->taught = mem_zalloc(files->n_taught, sizeof *d->taught);
    if (!l->scratch || !l->maps || !d->pairs || !d->taught)
        return err_set(e, ERR_NOMEM, "no memory for the training texts");
    TRY(room(&d->texts.starts, &l->starts_cap, 1, sizeof *d->texts.starts, e));
    d->texts.starts[0] = 0;
    for (; d->n_pairs < files->n_pairs; d->n_pairs++) {
        TRY(read_file(l, &files->pairs[d->n_pairs], &d->pairs[d->n_pairs], e));
        d->pair_rows += d->pairs[d->n_pairs].n;
    }
    for (; d->n_taught < files->n_taught; d->n_taught++) {
        TRY(read_file(l, &files->taught[d->n_taught], &d->taught[d->n_taught], e));
        d->taught_rows += d->taught[d->n_taught].n;
    }
    set_shares(d->pairs, files->pairs, d->n_pairs, files);
    set_shares(d->taught, files->taught, d->n_taught, files);
    return ERR_OK;
}

static void loader_done(struct loader *l)
{
    tokenizer_scratch_free(l->scratch);
    token_ids_done(&l->ids);
    mem_free(l->prompted);
    u64_map_done(&l->by_bytes);
    u64_map_done(&l->by_ids);
    mem_free(l->seen);
    for (size_t i = 0; i < l->n_maps; i++)
        file_map_close(&l->maps[i]);
    mem_free(l->maps);
}

enum err_code train_data_load(const struct train_files *files, const struct trainable *t,
    struct train_data **ret_data, struct err *e)
{
    struct loader l = { .t = t, .d = mem_zalloc(1, sizeof *l.d) };
    if (!l.d) return err_set(e, ERR_NOMEM, "no memory for the training texts");
    u64_map_init(&l.by_bytes);
    u64_map_init(&l.by_ids);
    enum err_code code = read_all(&l, files, e);
    loader_done(&l);
    if (code != ERR_OK) {
        /* the file that failed has what it had so far */
        l.d->n_pairs = l.d->pairs ? files->n_pairs : 0;
        l.d->n_taught = l.d->taught ? files->n_taught : 0;
        train_data_free(l.d);
        return code;
    }
    *ret_data = l.d;
    return ERR_OK;
}

static void rows_free(struct train_rows *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mem_free(rows[i].starts);
        mem_free(rows[i].texts);
        mem_free(rows[i].lines);
        npy_close(rows[i].vectors);
    }
    mem_free(rows);
}

void train_data_free(struct train_data *d)
{
    if (!d) return;
    rows_free(d->pairs, d->n_pairs);
    rows_free(d->taught, d->n_taught);
    mem_free(d->texts.ids);
    mem_free(d->texts.starts);
    mem_free(d);
}
