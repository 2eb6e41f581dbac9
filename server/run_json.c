#include "server/run_json.h"

#include "server/api.h"

#include <string.h>

static const char *const promote_names[] = {
    [PROMOTE_AUTO] = "auto",
    [PROMOTE_NEVER] = "never",
    [PROMOTE_ALWAYS] = "always",
};
static const char *const version_names[] = {
    [VERSION_CANDIDATE] = "candidate",
    [VERSION_SERVING] = "serving",
    [VERSION_RETIRED] = "retired",
    [VERSION_REMOVED] = "removed",
};

static void write_text(struct json_write *w, const char *key, struct str s)
{
    json_write_key(w, key);
    if (s.n)
        json_write_str(w, s);
    else
        json_write_null(w);
}

static void write_time(struct json_write *w, const char *key, int64_t unix_ms)
{
    if (unix_ms) {
        api_write_time(w, key, unix_ms);
        return;
    }
    json_write_key(w, key);
    json_write_null(w);
}

static struct str group_of(struct str name)
{
    const char *dot = memchr(name.p, '.', name.n);
    return (struct str){ name.p, dot ? (size_t)(dot - name.p) : 0 };
}

void run_json_metrics(struct json_write *w, const struct run_metric *m, size_t n)
{
    struct str open = { "", 0 };
    json_write_object(w);
    for (size_t i = 0; i < n; i++) {
        struct str group = group_of(m[i].name), name = m[i].name;
        if (!str_eq(group, open)) {
            if (open.n) json_write_object_end(w);
            if (group.n) {
                json_write_key_str(w, group);
                json_write_object(w);
            }
            open = group;
        }
        if (group.n) name = (struct str){ name.p + group.n + 1, name.n - group.n - 1 };
        json_write_key_str(w, name);
        json_write_f64(w, m[i].value);
    }
    if (open.n) json_write_object_end(w);
    json_write_object_end(w);
}

/* What was asked for. */
static void write_request(struct json_write *w, const struct catalog_run *r)
{
    json_write_key(w, "objective");
    json_write_str(w, r->objective);
    if (r->pairs_anchor.n) {
        json_write_key(w, "pairs");
        json_write_object(w);
        write_text(w, "anchor", r->pairs_anchor);
        write_text(w, "positive", r->pairs_positive);
        json_write_object_end(w);
    }
    if (r->labels.n) write_text(w, "labels", r->labels);
    json_write_key(w, "promote");
    json_write_z(w, promote_names[r->promote]);
    json_write_key(w, "method");
    json_write_str(w, r->method.n ? r->method : STR("auto"));
    if (r->layers > 0) {
        json_write_key(w, "layers");
        json_write_i64(w, r->layers);
    }
    json_write_key(w, "seed");
    json_write_i64(w, r->seed);
    if (r->max_seconds > 0) {
        json_write_key(w, "max_seconds");
        json_write_f64(w, r->max_seconds);
    }
    if (r->max_steps > 0) {
        json_write_key(w, "max_steps");
        json_write_i64(w, r->max_steps);
    }
}

static void write_training(struct json_write *w, const struct catalog_run *r)
{
    write_request(w, r);
    json_write_key(w, "step");
    json_write_i64(w, r->step);
    json_write_key(w, "steps");
    json_write_i64(w, r->steps);
    json_write_key(w, "loss");
    if (r->step > 0)
        json_write_f64(w, r->loss);
    else
        json_write_null(w);
    json_write_key(w, "attempts");
    json_write_i64(w, r->attempts);
    write_text(w, "data_hash", r->data_hash);
}

void run_json(struct json_write *w, const struct catalog_run *r, double progress)
{
    json_write_object(w);
    json_write_key(w, "run");
    json_write_i64(w, r->id);
    json_write_key(w, "kind");
    json_write_z(w, run_kind_name(r->kind));
    json_write_key(w, "status");
    json_write_z(w, run_status_name(r->status));
    json_write_key(w, "collection");
    json_write_str(w, r->collection);
    json_write_key(w, "progress");
    json_write_f64(w, progress);
    if (r->kind == RUN_TRAIN) write_training(w, r);
    json_write_key(w, "metrics");
    run_json_metrics(w, r->metrics, r->n_metrics);
    write_text(w, "decision", r->decision);
    json_write_key(w, "from_version");
    json_write_i64(w, r->from_version);
    json_write_key(w, "to_version");
    if (r->to_version)
        json_write_i64(w, r->to_version);
    else
        json_write_null(w);
    api_write_time(w, "created_at", r->created_ms);
    write_time(w, "started_at", r->started_ms);
    write_time(w, "finished_at", r->finished_ms);
    if (r->error.n) {
        json_write_key(w, "error");
        json_write_object(w);
        write_text(w, "code", r->error_code);
        write_text(w, "detail", r->error);
        json_write_object_end(w);
    }
    json_write_object_end(w);
}

void run_json_progress(struct json_write *w, int64_t run, const struct run_progress *p)
{
    json_write_object(w);
    json_write_key(w, "run");
    json_write_i64(w, run);
    json_write_key(w, "status");
    json_write_z(w, run_status_name(p->status));
    json_write_key(w, "progress");
    json_write_f64(w, p->progress);
    json_write_key(w, "step");
    json_write_i64(w, p->step);
    json_write_key(w, "steps");
    json_write_i64(w, p->steps);
    json_write_key(w, "loss");
    if (p->step > 0)
        json_write_f64(w, p->loss);
    else
        json_write_null(w);
    json_write_object_end(w);
}

void run_json_version(struct json_write *w, const struct version_info *v)
{
    const struct catalog_version *r = &v->row;
    json_write_object(w);
    json_write_key(w, "version");
    json_write_i64(w, r->version);
    json_write_key(w, "model");
    json_write_str(w, v->model);
    json_write_key(w, "state");
    json_write_z(w, version_names[r->state]);
    json_write_key(w, "parent_version");
    if (r->parent_version)
        json_write_i64(w, r->parent_version);
    else
        json_write_null(w);
    json_write_key(w, "run");
    if (r->run_id)
        json_write_i64(w, r->run_id);
    else
        json_write_null(w);
    json_write_key(w, "base_model");
    json_write_str(w, r->base_model);
    write_text(w, "data_hash", r->data_hash);
    write_text(w, "weights_hash", r->weights_hash);
    json_write_key(w, "has_vectors");
    json_write_bool(w, v->has_vectors);
    json_write_key(w, "metrics");
    run_json_metrics(w, v->metrics, v->n_metrics);
    api_write_time(w, "created_at", r->created_ms);
    write_time(w, "served_at", r->served_ms);
    json_write_object_end(w);
}
