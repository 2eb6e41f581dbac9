#include "bench/index_sets.h"

#include "base/err.h"
#include "base/fileio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLUSTER_DIM = 128, CLUSTER_QUERIES = 1000 };

static const struct {
    const char *name, *metric;
} sets[] = {
    { "minilm", "cosine" },
    { "tfidf", "cosine" },
    { "sift", "l2" },
    { "clusters", "l2" },
};

static void name_files(struct index_set *s, const char *folder, const char *stem)
{
    snprintf(s->base, sizeof s->base, "%s/%s.base.npy", folder, stem);
    snprintf(s->query, sizeof s->query, "%s/%s.query.npy", folder, stem);
    snprintf(s->truth, sizeof s->truth, "%s/%s.truth", folder, stem);
}

static void make_clusters(const struct index_set *s, const char *folder, size_t n)
{
    struct err e = ERR_INIT;
    if (file_exists(s->base) && file_exists(s->query)) return;
    fprintf(stderr, "making %zu clustered vectors\n", n);
    if (dir_make(folder, &e) != ERR_OK) {
        fprintf(stderr, "%s\n", e.msg);
        exit(1);
    }
    matrix_make_clusters(s->base, s->query, n, CLUSTER_QUERIES, CLUSTER_DIM, 1);
}

bool index_set_find(struct index_set *ret, const char *name, const char *folder, size_t n_clusters)
{
    char stem[64];
    *ret = (struct index_set){ 0 };
    for (size_t i = 0; i < sizeof sets / sizeof sets[0]; i++) {
        if (strcmp(sets[i].name, name) != 0) continue;
        snprintf(ret->name, sizeof ret->name, "%s", name);
        snprintf(ret->metric, sizeof ret->metric, "%s", sets[i].metric);
        bool made = strcmp(name, "clusters") == 0;
        if (made)
            snprintf(stem, sizeof stem, "%s-%zu", name, n_clusters);
        else
            snprintf(stem, sizeof stem, "%s", name);
        name_files(ret, folder, stem);
        if (made) make_clusters(ret, folder, n_clusters);
        if (file_exists(ret->base) && file_exists(ret->query)) return true;
        fprintf(stderr, "skipped: set %s: no %s (make bench-index-data)\n", name, ret->base);
        return false;
    }
    fprintf(stderr, "skipped: there is no set %s\n", name);
    return false;
}

void index_set_own(struct index_set *s)
{
    const char *slash = strrchr(s->base, '/'), *file = slash ? slash + 1 : s->base;
    snprintf(s->name, sizeof s->name, "%.*s", (int)strcspn(file, "."), file);
    snprintf(s->truth, sizeof s->truth, "%.4000s.truth", s->base);
}

void index_set_open(const struct index_set *s, struct matrix *ret_base, struct matrix *ret_query)
{
    const char *why = matrix_open(s->base, ret_base), *path = s->base;
    if (!why) {
        why = matrix_open(s->query, ret_query);
        path = s->query;
    }
    if (!why && ret_base->dim != ret_query->dim) why = "its vectors are of another length";
    if (!why) return;
    fprintf(stderr, "%s: %s\n", path, why);
    exit(1);
}
