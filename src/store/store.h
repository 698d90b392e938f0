/* store/store.h: the embedded table store: a server of the CQL native protocol, version 4. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/base.h"

struct kv_memory;
struct store_options {
    const char *folder;       /* made when missing */
    const char *host;         /* to listen on */
    uint16_t port;            /* 0: any free one */
    struct kv_memory *memory; /* the process's block cache; NULL: one of its own, 16 MiB */
};
struct store_server;
/* Listens at once; reads the folder on a disk thread and answers clients when that is done (they wait
 * in the kernel until then, at most 1 s; then they are told that the store is starting). The options
 * are copied. Errors: MR_BUSY, MR_DENIED, MR_UNREACHABLE (the address). Owner: the caller, until
 * store_server_close(). Thread: the loop's, or any before it runs; the rest on the loop. */
mr_err store_server_open(struct mr_loop *loop, struct mr_disk *disk,
                         const struct store_options *options, struct store_server **out);
uint16_t store_server_port(const struct store_server *server);
/* MR_OK once requests are served; MR_AGAIN while the folder is read; else why it cannot be. */
mr_err store_server_ready(const struct store_server *server);
/* The sentence of that error; NULL when there is none. */
const char *store_server_why(const struct store_server *server);
/* Ends all connections, finishes what was begun, closes the data; then runs `done` on the loop and the
 * server is gone. */
void store_server_close(struct store_server *server, struct mr_task *done);

#endif
