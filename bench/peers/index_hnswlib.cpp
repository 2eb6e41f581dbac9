/* hnswlib under bench-index: answers as bench/index_worker.h says. Cosines are inner products of vectors that are
 * brought to length 1 while they are added.
 *
 * Source: hnswlib (Debian libhnswlib-dev), Apache-2.0; not part of Kindred, and not needed for anything but this. */
#include "bench/index_worker.h"

#include <hnswlib/hnswlib.h>

#include <cstdio>
#include <exception>
#include <memory>
#include <vector>

#ifndef HNSWLIB_VERSION
#define HNSWLIB_VERSION "unknown"
#endif

namespace
{
struct Index {
    std::unique_ptr<hnswlib::SpaceInterface<float>> space;
    std::unique_ptr<hnswlib::HierarchicalNSW<float>> graph;
    const struct matrix *base;
    bool normalize;
};

void add(void *arg, size_t i)
{
    auto *x = static_cast<Index *>(arg);
    const float *row = x->base->v + i * x->base->dim;
    thread_local std::vector<float> unit;
    if (x->normalize) {
        unit.resize(x->base->dim);
        worker_normalize(unit.data(), row, x->base->dim);
        row = unit.data();
    }
    x->graph->addPoint(row, i);
}

void *build(struct index_build *b)
{
    auto x = std::make_unique<Index>();
    try {
        if (b->metric == MATRIX_L2)
            x->space = std::make_unique<hnswlib::L2Space>(b->base->dim);
        else
            x->space = std::make_unique<hnswlib::InnerProductSpace>(b->base->dim);
        x->base = b->base;
        x->normalize = b->metric == MATRIX_COSINE;
        x->graph = std::make_unique<hnswlib::HierarchicalNSW<float>>(
            x->space.get(), b->base->n, b->m, b->ef_construction);
        worker_parallel(b->base->n, 16, b->threads, add, x.get());
    } catch (const std::exception &e) {
        snprintf(b->note, sizeof b->note, "%s", e.what());
        return nullptr;
    }
    return x.release();
}

void release(void *index)
{
    delete static_cast<Index *>(index);
}

void *searcher_new(void *)
{
    return nullptr;
}

void searcher_free(void *)
{
}

void set_ef(void *index, size_t ef)
{
    static_cast<Index *>(index)->graph->setEf(ef);
}

size_t search(void *index, void *, const float *query, size_t k, size_t, uint32_t *ret_ids)
{
    auto found = static_cast<Index *>(index)->graph->searchKnn(query, k);
    size_t n = 0;
    for (; !found.empty(); found.pop())
        ret_ids[n++] = static_cast<uint32_t>(found.top().second);
    return n;
}
} // namespace

int main()
{
    static const struct index_library lib = { "hnswlib", HNSWLIB_VERSION, build, release,
        searcher_new, searcher_free, set_ef, search };
    return index_worker_run(&lib);
}
