/* Layer: engine. May include: core, index, catalog, base.
 *
 * Train a model on files, without a collection and without a server: what
 * `kindred train --pairs` does.
 *
 * Threads: one training at a time in a process.
 */
#pragma once

#include "base/err.h"
#include "core/learn/trainer.h"
#include "engine/config.h"
#include "engine/model_card.h"

struct train_files_request {
    const struct config *cfg; /* where models are looked for; may be NULL if `model` is a folder */
    const char *model;        /* folder, or name of a model found as the server finds it */
    const char *card;         /* file whose content becomes README.md; NULL: one is written */
    const char *metrics;      /* Markdown for the written one; may be NULL */
    struct trainer_options options; /* model_dir is not looked at: it comes from `model` */
};

struct train_files_report {
    struct trainer_report training;
    char data_hash[CARD_HASH_CHARS + 1]; /* BLAKE2b-256 over the files' hashes in order, hex */
};

/**
 * Hash the files, train, and write the candidate's README.md.
 * Errors: those of trainer_run; NOT_FOUND also for a model that is not there.
 */
MUST_USE enum err_code train_files(
    const struct train_files_request *rq, struct train_files_report *ret, struct err *e);
