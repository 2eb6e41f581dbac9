/* Layer: server. May include: engine, base.
 *
 * Subcommands of the binary. Each gets the arguments after its name (argv[0] is
 * the first of them), prints results to stdout and errors as one line to
 * stderr, and returns the exit status: 0 done, 1 failed, 2 wrong usage.
 * Every one knows --help.
 */
#pragma once

/** Stream NDJSON items into a collection of a running server, with progress. */
int cmd_import(int argc, char **argv);
/** Judge a model on a file of sentence pairs; prints JSON. */
int cmd_eval(int argc, char **argv);
/** Train a model on files; writes a model folder. */
int cmd_train(int argc, char **argv);
/** What the index does with the user's own vectors. */
int cmd_bench(int argc, char **argv);
/** Bring, list and check models. */
int cmd_model(int argc, char **argv);
/** Print the settings: --markdown is docs/config.md. */
int cmd_config(int argc, char **argv);
/** Run the server until SIGTERM or SIGINT, then drain. */
int cmd_serve(int argc, char **argv);
/** Print version, commit and the libraries in use. */
int cmd_version(int argc, char **argv);
