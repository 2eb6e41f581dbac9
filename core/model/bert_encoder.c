/* BERT behind encoder_ops: parameters are read as f32, packed, and released. */
#include "core/model/bert_internal.h"

#include "base/mem.h"

static void bert_free(void *model)
{
    bert_model_free(model);
}

/* Multiplications and additions of a token in the matrices; attention, which grows with the text, left out. */
static size_t flops(const struct bert_config *c)
{
    return 2 * c->layers * (4 * c->hidden * c->hidden + 2 * c->hidden * c->intermediate);
}

static enum err_code bert_load(
    const struct model_source *src, void **ret_model, struct encoder_info *ret_info, struct err *e)
{
    struct bert_config c;
    struct bert_params p;
    struct bert_model *m = NULL;
    TRY(bert_config_read(src, &c, e));
    TRY(bert_params_read(src, &c, &p, e));
    enum err_code code = bert_model_new(&c, &p, src->products, &m, e);
    bert_params_done(&p);
    if (code != ERR_OK) return code;
    ret_info->dimensions = c.dimensions;
    ret_info->vocab_size = tokenizer_vocab_size(src->tokenizer);
    ret_info->max_tokens = c.max_tokens;
    ret_info->size_bytes = bert_model_bytes(m);
    ret_info->flops_per_token = flops(&c);
    *ret_model = m;
    return ERR_OK;
}

/* Every piece has a row. */
static enum err_code bert_check(const void *model, const uint32_t *ids, size_t n, struct err *e)
{
    (void)model;
    (void)ids;
    (void)n;
    (void)e;
    return ERR_OK;
}

static size_t bert_floats(const void *model)
{
    return bert_workspace_floats(model);
}

static void bert_run(const void *model, const struct packed_batch *b, float *work, float *out)
{
    bert_forward(model, b, work, out);
}

/* A head that is not used here may have been trained with it. */
static const char *const ARCHITECTURES[] = { "BertModel", "BertForMaskedLM", "BertForPreTraining",
    "BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering",
    "BertForMultipleChoice", "BertForNextSentencePrediction", NULL };

const struct encoder_ops bert_encoder_ops = {
    .model_type = "bert",
    .architectures = ARCHITECTURES,
    .name = "bert",
    .modules = NULL,
    .special_tokens = true,
    .load = bert_load,
    .free = bert_free,
    .workspace_floats = bert_floats,
    .check = bert_check,
    .forward = bert_run,
};
