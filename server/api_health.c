/* What operators and their tools ask. */
#include "server/api.h"

#include "base/embed.h"
#include "base/metrics.h"
#include "version.h"

static enum err_code answer_status(struct exchange *x, const char *status, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    json_write_object(&w);
    json_write_key(&w, "status");
    json_write_z(&w, status);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

/* Alive is whoever answers: it must not depend on anything else. */
enum err_code api_healthz(struct exchange *x, struct err *e)
{
    return answer_status(x, "ok", e);
}

enum err_code api_readyz(struct exchange *x, struct err *e)
{
    if (exchange_draining(x)) return err_set(e, ERR_DRAINING, "the server is shutting down");
    TRY(engine_ready(x->engine, e));
    return answer_status(x, "ready", e);
}

enum err_code api_metrics(struct exchange *x, struct err *e)
{
    engine_metrics_refresh(x->engine);
    x->rs.content_type = "text/plain; version=0.0.4; charset=utf-8";
    return metrics_render(&x->rs.body, e);
}

enum err_code api_version(struct exchange *x, struct err *e)
{
    struct json_write w = JSON_WRITE_INIT(&x->rs.body);
    json_write_object(&w);
    json_write_key(&w, "name");
    json_write_z(&w, "kindred");
    json_write_key(&w, "version");
    json_write_z(&w, KINDRED_VERSION);
    json_write_key(&w, "commit");
    json_write_z(&w, KINDRED_COMMIT);
    json_write_object_end(&w);
    return buf_check(&x->rs.body, e);
}

enum err_code api_openapi(struct exchange *x, struct err *e)
{
    const struct embedded_file *f = &embedded_openapi[0];
    if (!f->name)
        return err_set(e, ERR_NOT_FOUND, "this build has no description of its interface");
    response_set_fixed(&x->rs, "application/yaml", f->data, f->size);
    return ERR_OK;
}
