#include "engine/model_card.h"

#include "base/buf.h"
#include "base/fileio.h"
#include "base/mem.h"

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash && slash[1] ? slash + 1 : path;
}

/* In a table and in front matter: no line ends, nothing that ends a cell. */
static void put_plain(struct buf *b, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '|' || c == '"' || c == '\\')
            buf_putc(b, '\'');
        else
            buf_putc(b, c < ' ' ? ' ' : *text);
    }
}

static void put_head(struct buf *b, const struct model_card *card)
{
    buf_puts(b,
        "---\nlibrary_name: sentence-transformers\npipeline_tag: sentence-similarity\n"
        "tags: [sentence-similarity, feature-extraction]\nbase_model: \"");
    put_plain(b, file_name(card->parent));
    buf_puts(b, "\"\n---\n\n# ");
    put_plain(b, file_name(card->parent));
    buf_puts(b,
        ", trained further\n\nMade by `kindred train`. It is opened as any other model folder:\n\n"
        "```python\n"
        "from sentence_transformers import SentenceTransformer\n"
        "model = SentenceTransformer(\"path/of/this/folder\")\n"
        "vectors = model.encode([\"a text\", \"another\"])\n"
        "```\n\n"
        "and by Kindred, when this folder lies in one of its model folders "
        "(`kindred serve --models DIR`).\n");
}

static void put_data(struct buf *b, const struct model_card *card)
{
    buf_puts(b,
        "\n## Data\n\n| file | kind | rows | weight | BLAKE2b-256 |\n"
        "| --- | --- | ---: | ---: | --- |\n");
    for (size_t i = 0; i < card->n_files; i++) {
        const struct card_file *f = &card->files[i];
        buf_puts(b, "| ");
        put_plain(b, file_name(f->name));
        buf_printf(b, " | %s | %zu | %g | `%s` |\n", f->taught ? "taught texts" : "pairs", f->rows,
            f->weight, f->hash);
    }
    buf_printf(b,
        "\nHash of all of them: `%s`. %zu pairs and %zu taught texts were used; %zu lines hold "
        "no token that the model knows.\n",
        card->data_hash, card->training->pairs, card->training->taught, card->training->skipped);
}

static void put_settings(struct buf *b, const struct model_card *card)
{
    const struct trainer_options *o = card->options;
    const struct trainer_report *r = card->training;

    const enum train_method method = r->method != TRAIN_AUTO ? r->method : o->model.method;
    const double rate = r->rate > 0 ? r->rate : o->rate;

    buf_puts(b, "\n## Settings\n\n| setting | value |\n| --- | --- |\n");
    buf_printf(b, "| what learned | %s", train_method_name(method));
    if (method == TRAIN_LAST_LAYERS) buf_printf(b, ": %zu", o->model.layers);
    if (method == TRAIN_LORA) buf_printf(b, ", rank %zu", o->model.rank);
    buf_puts(b, " |\n");
    buf_printf(b, "| steps | %lld |\n| pairs a step | %zu |\n", (long long)r->steps, o->batch);
    buf_printf(b, "| learning rate | %g, after %g of the steps; falls to %g of it |\n", rate,
        o->warmup, o->rate_floor);
    buf_printf(b, "| temperature | %g |\n| both directions | %s |\n", o->temperature,
        o->symmetric ? "yes" : "no");
    buf_printf(b, "| tokens left out | %g |\n", o->token_dropout);
    if (o->n_taught) buf_printf(b, "| steps with the teacher | %g |\n", o->distill_share);
    if (o->anchor_weight > 0) buf_printf(b, "| pull towards the start | %g |\n", o->anchor_weight);
    if (o->mask_above < 1)
        buf_printf(b, "| no negatives above a cosine of | %g |\n", o->mask_above);
    if (o->max_tokens) buf_printf(b, "| longest text, in tokens | %zu |\n", o->max_tokens);
    buf_printf(b, "| seed | %llu |\n", (unsigned long long)o->seed);
    buf_printf(b, "\nTraining took %.0f seconds on %u thread%s; the last loss was %.3f.\n",
        r->seconds, o->threads, o->threads == 1 ? "" : "s", r->final_loss);
}

enum err_code model_card_write(const char *model_dir, const struct model_card *card, struct err *e)
{
    struct buf b = BUF_INIT(0);
    AUTO_FREE char *path = path_join(model_dir, "README.md");
    enum err_code code;

    if (!path) return err_set(e, ERR_NOMEM, "out of memory");
    put_head(&b, card);
    if (card->metrics) {
        buf_puts(&b, "\n## Figures\n\n");
        buf_puts(&b, card->metrics);
        if (b.n && b.p[b.n - 1] != '\n') buf_putc(&b, '\n');
    }
    put_data(&b, card);
    put_settings(&b, card);
    code = buf_check(&b, e);
    if (code == ERR_OK) code = file_write_atomic(path, b.p, b.n, e);
    buf_done(&b);
    return code;
}
