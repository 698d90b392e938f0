/* broker/broker.h: the embedded Kafka log. One server owns one folder and one listener; it lives on
 * one loop, and everything else reaches it by the Kafka protocol over TCP. */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include "base/base.h"
#include "net/net.h"

struct broker_server;

/* Who may come in. All empty: everybody, without encryption. */
struct broker_security_options {
    struct net_tls_server tls; /* certificate empty: plain TCP */
    mr_str mechanisms;         /* SASL: "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER", any of
                                * them; empty: none is asked for */
    mr_str users;              /* file of lines "name:password": those that do not exist are made */
    mr_str token_keys;         /* OAUTHBEARER: a JWKS file or public keys in PEM */
    mr_str token_issuer, token_audience; /* that tokens must have; empty: not looked at */
    bool token_unsecured;                /* tokens without a signature are good too */
    int64_t session_ms;                  /* clients authenticate again within it; 0: never */
    size_t conns_per_address_max;        /* 0: no limit of its own */
    bool acls;                           /* what nobody is allowed is refused */
    bool allow_everyone;                 /* but for resources that no rule is about */
    mr_str super_users;                  /* "User:ann;User:bob": may everything */
};

struct broker_options {
    mr_str folder;        /* made when missing; holds the topics and the cluster's id */
    mr_str host;          /* address to listen on; empty: 127.0.0.1 */
    uint16_t port;        /* 0: any free one */
    mr_str advertise;     /* "host" or "host:port" for clients from elsewhere; empty: the address
                                     * on which each connection was taken */
    uint16_t inside_port; /* a second port; its clients are told the address on which they came,
                                     * whatever `advertise` says; 0: none */
    bool page_cache;      /* acks=all is answered after the write, before it is on disk */
    bool no_reserve;      /* take the disk's last 5 % too (tests) */
    size_t recent_bytes;  /* appended batches kept in memory for readers; 0: 32 MB */
    mr_str settings; /* lines "NAME=VALUE", as in Kafka's server.properties (node_configs.def) */
    struct broker_security_options security;
};

/* Binds the listener, locks nothing, and starts recovery on the disk threads; requests that come
 * before it is done wait up to 1 s. May block for the listener and the folder only.
 * Errors: MR_INVALID (a setting); MR_BUSY, MR_DENIED (port); MR_IO, MR_DENIED, MR_CORRUPT (folder); MR_INVALID, MR_NOT_FOUND
 * (an option of security and its file).
 * Thread: the loop's, or any while the loop does not run yet. Owner: the caller, until _close. */
mr_err broker_server_open(struct mr_loop *loop, struct mr_disk *disk,
                          const struct broker_options *options, struct broker_server **out);
uint16_t broker_server_port(const struct broker_server *server);
/* Whether recovery is done and requests are served. Thread: the loop's. */
bool broker_server_ready(const struct broker_server *server);
/* Runs `task` once the server is ready, at once when it is already. Thread: the loop's. */
void broker_server_when_ready(struct broker_server *server, struct mr_task *task);
/* What there is of topics, partitions and groups at this moment, in Prometheus' text format, by the names
 * that dashboards for Kafka know; nothing until the server is ready. Thread: the loop's. */
void broker_metrics_print(struct broker_server *server, struct mr_buf *out);
/* Their names, labels and meanings, as rows of a table. Thread: any. */
void broker_metrics_docs(struct mr_buf *out);
/* The settings of the broker, of topics and of groups, as tables. Thread: any. */
void broker_settings_docs(struct mr_buf *out);
/* Drops the connections, writes and syncs what is appended, leaves checkpoints behind, frees the
 * server, then runs `done`. Thread: the loop's; loop and disk must go on until `done`. */
void broker_server_close(struct broker_server *server, struct mr_task *done);

/* ---- backups: Thread: any; everything here blocks ---- */

/* Told now and then, in bytes; the last time with done == all. */
struct broker_progress {
    void (*tell)(struct broker_progress *progress, int64_t done, int64_t all);
};
struct broker_backup {
    size_t files, files_moved; /* moved: copied, linked, or lengthened this time */
    int64_t bytes, bytes_moved;
    size_t files_linked; /* of those moved: they share the log's bytes on the disk */
    int64_t made_ms;     /* wall clock */
};
/* Makes or renews the backup in the folder `into`. `running`: a server uses the log's `folder`, and goes on;
 * else nobody may use it meanwhile. Until all is done, and after any error, `into` is the backup that it was.
 * Errors: MR_EXISTS (`into` is something else), MR_CONFLICT (another log's backup; the server refuses), MR_BUSY
 * (another backup goes there), MR_NOT_FOUND, MR_UNREACHABLE, MR_FULL, MR_IO, MR_DENIED, MR_CORRUPT. */
mr_err broker_backup(mr_str folder, bool running, mr_str into, struct broker_progress *progress,
                     struct broker_backup *out);
/* A whole backup as a tar stream; what tar makes of it is a backup's folder. */
mr_err broker_backup_stream(mr_str folder, bool running, int fd, struct broker_progress *progress,
                            struct broker_backup *out);
/* Puts the backup into `folder`, which must be missing or empty, and which is not there before all of it is checked.
 * Errors: MR_EXISTS, MR_NOT_FOUND (no backup), MR_CORRUPT (with the file), MR_FULL, MR_IO, MR_DENIED, ... */
mr_err broker_restore(mr_str from, mr_str folder, struct broker_progress *progress,
                      struct broker_backup *out);
/* Reads all of a backup and adds a line to `text` for everything that is wrong with it, beginning with "fault: ".
 * Errors: those of a folder that is no backup, or has an unreadable manifest. */
mr_err broker_backup_verify(mr_str from, struct mr_buf *text, struct broker_backup *out,
                            size_t *faults);

/* ---- the folder of a server that does not run ---- */

struct broker_check {
    size_t partitions, segments;
    size_t faults, notes; /* a note is what a start mends by itself */
    int64_t batches, bytes;
};
/* Reads all of the folder and adds a line to `text` for everything that is wrong with it, beginning
 * with "fault: " or "note: ", the path, and the byte where that is known. Nothing is changed.
 * Errors: MR_NOT_FOUND (there is no catalog), MR_IO, MR_DENIED. Thread: any; it blocks. */
mr_err broker_verify(mr_str folder, struct mr_buf *text, struct broker_check *out);

#endif
