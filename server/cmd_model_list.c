/* `kindred model list` and `kindred model info`. */
#include "server/cmd_model.h"

#include "base/buf.h"
#include "base/mem.h"
#include "engine/model_pull.h"
#include "server/json_write.h"

#include <stdio.h>
#include <string.h>

static int print_json(const struct cmd_model_args *a, struct buf *b)
{
    struct err e = ERR_INIT;
    if (buf_check(b, &e) != ERR_OK) return cmd_model_fail(a, &e);
    puts(b->p);
    return 0;
}

static void write_field(struct json_write *w, const char *key, const char *value)
{
    json_write_key(w, key);
    json_write_z(w, value);
}

static void write_number(struct json_write *w, const char *key, uint64_t value)
{
    json_write_key(w, key);
    json_write_u64(w, value);
}

/* ---- known ---- */

static void print_known(void)
{
    const struct known_model *m;
    char size[32];
    for (size_t i = 0; (m = known_model_at(i)) != NULL; i++) {
        printf("%s\n  package     %s %s (%s)\n", m->name, m->package, m->version,
            cmd_model_size(m->package_bytes, size));
        printf("  SHA-256     %s\n  hub         %s at %s\n", m->package_sha256, m->repository,
            m->commit);
        printf("  licence     %s\n  size        %s\n", m->licence,
            cmd_model_size(known_model_bytes(m), size));
    }
}

static void write_known(struct json_write *w)
{
    const struct known_model *m;
    const struct known_file *f;
    json_write_array(w);
    for (size_t i = 0; (m = known_model_at(i)) != NULL; i++) {
        json_write_object(w);
        write_field(w, "name", m->name);
        write_field(w, "license", m->licence);
        write_field(w, "package", m->package);
        write_field(w, "version", m->version);
        write_field(w, "sha256", m->package_sha256);
        write_number(w, "package_bytes", m->package_bytes);
        write_field(w, "repository", m->repository);
        write_field(w, "commit", m->commit);
        write_number(w, "bytes", known_model_bytes(m));
        json_write_key(w, "files");
        json_write_array(w);
        for (size_t j = 0; (f = known_model_file(m, j)) != NULL; j++) {
            json_write_object(w);
            write_field(w, "path", f->path);
            write_number(w, "bytes", f->bytes);
            write_field(w, "sha256", f->sha256);
            json_write_object_end(w);
        }
        json_write_array_end(w);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

/* ---- list ---- */

static const char LIST_USAGE[] =
    "usage: kindred model list [--json] [--models DIR] [--data DIR] [--config FILE]\n"
    "       kindred model list --known [--json]\n\n"
    "The models of all model folders, in the order in which they are looked for. One that does not "
    "load is\n"
    "there with the reason; one that is hidden by an earlier model of its name says so.\n"
    "--known: those that `kindred model pull` fetches by name, with their sources and hashes.\n";

static void print_list(const struct model_list *l)
{
    size_t folder = MODEL_FOLDERS_MAX;
    char size[32];
    for (size_t i = 0; i < l->n; i++) {
        const struct model_row *r = &l->rows[i];
        if (r->folder != folder) printf("%s%s\n", i ? "\n" : "", l->folders.paths[r->folder]);
        folder = r->folder;
        if (r->broken)
            printf("  %-28s broken: %s", r->name, r->why.msg);
        else
            printf("  %-28s %-8s %5zu dimensions  %9s", r->name, r->info.architecture,
                r->info.dimensions, cmd_model_size(r->bytes, size));
        puts(r->hidden ? "  (hidden: an earlier folder has this name)" : "");
    }
    if (l->n == 0) printf("no models; new ones go into %s\n", l->folders.paths[0]);
}

static void write_row(struct json_write *w, const struct model_list *l, const struct model_row *r)
{
    write_field(w, "name", r->name);
    write_field(w, "folder", l->folders.paths[r->folder]);
    write_field(w, "path", r->dir);
    write_number(w, "bytes", r->bytes);
    json_write_key(w, "hidden");
    json_write_bool(w, r->hidden);
    if (r->broken) {
        write_field(w, "error", r->why.msg);
        return;
    }
    write_field(w, "architecture", r->info.architecture);
    write_number(w, "dimensions", r->info.dimensions);
    write_number(w, "max_tokens", r->info.max_tokens);
    write_number(w, "vocabulary", r->info.vocab_size);
}

static int list(const struct cmd_model_args *a, bool known, bool json)
{
    AUTO(buf_done) struct buf b = BUF_INIT(0);
    AUTO(model_list_done) struct model_list l = { .n = 0 };
    struct json_write w = JSON_WRITE_INIT(&b);
    struct err e = ERR_INIT;
    if (known && !json) {
        print_known();
        return 0;
    }
    if (known) {
        write_known(&w);
        return print_json(a, &b);
    }
    if (model_list_read(&a->cfg, vec_select(VEC_BEST), &l, &e) != ERR_OK)
        return cmd_model_fail(a, &e);
    if (!json) {
        print_list(&l);
        return 0;
    }
    json_write_array(&w);
    for (size_t i = 0; i < l.n; i++) {
        json_write_object(&w);
        write_row(&w, &l, &l.rows[i]);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    return print_json(a, &b);
}

int cmd_model_list(int argc, char **argv)
{
    bool known = false, json = false;
    const struct cmd_model_flag own[] = { { "--known", NULL, &known }, { "--json", NULL, &json },
        { NULL, NULL, NULL } };
    struct cmd_model_args a = { .command = "list", .usage = LIST_USAGE, .own = own };
    AUTO_FREE const char **words = mem_alloc((size_t)argc + 1, sizeof *words);
    if (!words) return 1;
    int status = cmd_model_read(&a, argc, argv, words);
    if (status < 0) status = list(&a, known, json);
    cmd_model_done(&a);
    return status;
}

/* ---- info ---- */

static const char INFO_USAGE[] =
    "usage: kindred model info NAME [--json] [--models DIR] [--data DIR] [--config FILE]\n\n"
    "Architecture, dimensions, longest text, vocabulary, prompts, source, licence, and every file "
    "with its\n"
    "size and SHA-256.\n";

struct about {
    const struct model_list *list;
    const struct model_row *row;
    struct model_note note;
    struct model_files files;
};

static void print_prompt(const char *kind, const char *text)
{
    if (text[0]) printf("%-14s\"%s\"\n", kind, text);
}

static void print_about(const struct about *t)
{
    const struct encoder_info *i = &t->row->info;
    char size[32];
    printf("%-14s%s\n%-14s%s\n", "name", t->row->name, "folder", t->row->dir);
    if (t->row->broken) {
        printf("%-14s%s\n", "broken", t->row->why.msg);
    } else {
        printf("%-14s%s\n%-14s%zu\n", "architecture", i->architecture, "dimensions", i->dimensions);
        if (i->max_tokens)
            printf("%-14s%zu; longer texts are cut\n", "max tokens", i->max_tokens);
        else
            printf("%-14sno limit\n", "max tokens");
        printf("%-14s%zu\n", "vocabulary", i->vocab_size);
        print_prompt("query prompt", i->prompts[ENCODE_QUERY]);
        print_prompt("document prompt", i->prompts[ENCODE_DOCUMENT]);
        printf("%-14s%s\n", "in memory", cmd_model_size(i->size_bytes, size));
    }
    printf("%-14s%s%s%s\n", "source", t->note.source[0] ? t->note.source : "not noted",
        t->note.version[0] ? ", " : "", t->note.version);
    printf("%-14s%s\n", "licence", t->note.licence[0] ? t->note.licence : "not noted");
    printf("files         %s\n", cmd_model_size(t->row->bytes, size));
    for (size_t f = 0; f < t->files.n; f++)
        printf("  %s  %12llu  %s\n", t->files.rows[f].sha256,
            (unsigned long long)t->files.rows[f].bytes, t->files.rows[f].path);
}

static int write_about(const struct cmd_model_args *a, const struct about *t)
{
    AUTO(buf_done) struct buf b = BUF_INIT(0);
    struct json_write w = JSON_WRITE_INIT(&b);
    json_write_object(&w);
    write_row(&w, t->list, t->row);
    if (!t->row->broken) {
        write_number(&w, "memory_bytes", t->row->info.size_bytes);
        json_write_key(&w, "prompts");
        json_write_object(&w);
        write_field(&w, "query", t->row->info.prompts[ENCODE_QUERY]);
        write_field(&w, "document", t->row->info.prompts[ENCODE_DOCUMENT]);
        json_write_object_end(&w);
    }
    write_field(&w, "source", t->note.source);
    write_field(&w, "version", t->note.version);
    write_field(&w, "license", t->note.licence);
    json_write_key(&w, "files");
    json_write_array(&w);
    for (size_t i = 0; i < t->files.n; i++) {
        json_write_object(&w);
        write_field(&w, "path", t->files.rows[i].path);
        write_number(&w, "bytes", t->files.rows[i].bytes);
        write_field(&w, "sha256", t->files.rows[i].sha256);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    return print_json(a, &b);
}

static int info(const struct cmd_model_args *a, bool json)
{
    AUTO(model_list_done) struct model_list l = { .n = 0 };
    AUTO(model_files_done) struct model_files files = { .n = 0 };
    struct about t = { .list = &l };
    struct err e = ERR_INIT;
    enum err_code code = model_list_read(&a->cfg, vec_select(VEC_BEST), &l, &e);
    if (code == ERR_OK && !(t.row = model_list_find(&l, a->words[0])))
        code = err_set(&e, ERR_NOT_FOUND, "there is no model \"%.64s\"; see kindred model list%s",
            a->words[0], known_model_find(a->words[0]) ? ". It can be pulled" : "");
    if (code == ERR_OK) code = model_files_read(t.row->dir, true, &files, &e);
    /* What a broken one says of itself may be what is broken. */
    if (code == ERR_OK && model_note_read(t.row->dir, &t.note, &e) != ERR_OK)
        t.note = (struct model_note){ .source = "" };
    if (code != ERR_OK) return cmd_model_fail(a, &e);
    t.files = files;
    if (json) return write_about(a, &t);
    print_about(&t);
    return 0;
}

int cmd_model_info(int argc, char **argv)
{
    bool json = false;
    const struct cmd_model_flag own[] = { { "--json", NULL, &json }, { NULL, NULL, NULL } };
    struct cmd_model_args a = {
        .command = "info", .usage = INFO_USAGE, .own = own, .words_min = 1, .words_max = 1
    };
    AUTO_FREE const char **words = mem_alloc((size_t)argc + 1, sizeof *words);
    if (!words) return 1;
    int status = cmd_model_read(&a, argc, argv, words);
    if (status < 0) status = info(&a, json);
    cmd_model_done(&a);
    return status;
}
