/* `kindred model add` and `kindred model verify`. */
#include "server/cmd_model.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* ---- add ---- */

static const char ADD_USAGE[] =
    "usage: kindred model add DIR [--name N] [--query-prompt P] [--document-prompt P] [--replace]\n"
    "                         [--models DIR] [--data DIR] [--config FILE]\n\n"
    "Load the model in a folder as sentence-transformers and Hugging Face save it, and copy what "
    "it "
    "needs\n"
    "(weights as safetensors, tokenizer, configuration, licence) to the first model folder. Its "
    "name "
    "is\n"
    "config.json's \"name\", else the folder's.\n"
    "--query-prompt, --document-prompt: what goes before every query, and every document, in place "
    "of\n"
    "what the model says (\"\" for nothing).\n"
    "--replace: in place of the model of this name.\n";

static int add(const struct cmd_model_args *a, struct model_add *o)
{
    AUTO(model_folders_done) struct model_folders folders = { .n = 0 };
    char name[MODEL_NAME_MAX + 1];
    struct err e = ERR_INIT;
    enum err_code code = model_folders_find(&a->cfg, &folders, &e);
    o->from = a->words[0];
    o->models = folders.paths[0];
    o->kernels = vec_select(VEC_BEST);
    if (code == ERR_OK) code = model_add(o, name, &e);
    if (code != ERR_OK) {
        (void)cmd_model_fail(a, &e);
        if (code == ERR_CONFLICT)
            fputs("--replace takes its place, --name gives it another name\n", stderr);
        return 1;
    }
    cmd_model_came(o->models, name, o->replace);
    return 0;
}

int cmd_model_add(int argc, char **argv)
{
    struct model_add o = { .from = NULL };
    const struct cmd_model_flag own[] = { { "--name", &o.name, NULL },
        { "--query-prompt", &o.query_prompt, NULL },
        { "--document-prompt", &o.document_prompt, NULL }, { "--replace", NULL, &o.replace },
        { NULL, NULL, NULL } };
    struct cmd_model_args a = {
        .command = "add", .usage = ADD_USAGE, .own = own, .words_min = 1, .words_max = 1
    };
    AUTO_FREE const char **words = mem_alloc((size_t)argc + 1, sizeof *words);
    if (!words) return 1;
    int status = cmd_model_read(&a, argc, argv, words);
    if (status < 0) status = add(&a, &o);
    cmd_model_done(&a);
    return status;
}

/* ---- verify ---- */

static const char VERIFY_USAGE[] =
    "usage: kindred model verify [NAME...] [--models DIR] [--data DIR] [--config FILE]\n\n"
    "Check models (all of them, if none is named): the files against SHA256SUMS, then that the "
    "model "
    "loads\n"
    "and gives the same sound vector for a text twice. Exit status 1 if one is not sound.\n";

static bool verify_one(const struct model_row *row)
{
    bool summed = false;
    struct err e = ERR_INIT;
    if (model_verify(row->dir, vec_select(VEC_BEST), &summed, &e) != ERR_OK) {
        printf("%-28s BAD: %s\n", row->name, e.msg);
        return false;
    }
    printf("%-28s ok%s\n", row->name,
        summed ? "" : " (it encodes; there is no SHA256SUMS to compare with)");
    return true;
}

static int verify(const struct cmd_model_args *a)
{
    AUTO(model_list_done) struct model_list l = { .n = 0 };
    struct err e = ERR_INIT;
    bool good = true;
    if (model_list_read(&a->cfg, vec_select(VEC_BEST), &l, &e) != ERR_OK)
        return cmd_model_fail(a, &e);
    for (int i = 0; i < a->n_words; i++) {
        const struct model_row *row = model_list_find(&l, a->words[i]);
        if (!row)
            fprintf(stderr, "kindred model verify: there is no model \"%.64s\"\n", a->words[i]);
        good = (row && verify_one(row)) && good;
    }
    for (size_t i = 0; a->n_words == 0 && i < l.n; i++)
        if (!l.rows[i].hidden) good = verify_one(&l.rows[i]) && good;
    return good ? 0 : 1;
}

int cmd_model_verify(int argc, char **argv)
{
    struct cmd_model_args a = { .command = "verify", .usage = VERIFY_USAGE, .words_max = argc };
    AUTO_FREE const char **words = mem_alloc((size_t)argc + 1, sizeof *words);
    if (!words) return 1;
    int status = cmd_model_read(&a, argc, argv, words);
    if (status < 0) status = verify(&a);
    cmd_model_done(&a);
    return status;
}
