/* broker/backup.h: backups, seen from inside the room. A backup is a folder:
 *
 *   manifest     which files there are, by the names that they have in a broker's folder, and their checksums
 *   files/<n>    their contents, under numbers
 *
 * The manifest is replaced as a whole, and until then no file of the one before is changed but by what is added
 * behind the bytes that it counts. So a backup that is made anew is the old one or the new one, at every moment.
 * Thread: any; everything here blocks. */
#ifndef BROKER_BACKUP_H
#define BROKER_BACKUP_H

#include "broker/broker.h"

#define BROKER_MANIFEST "manifest"

struct broker_manifest_file {
    mr_str path;    /* in a broker's folder */
    int64_t number; /* its name under files/; above 0 */
    int64_t bytes;  /* more may stand in the file: it does not count */
    uint32_t checksum;
    /* What it was copied from, to know it again. */
    int64_t serial; /* of a segment in the broker's run; 0: none */
    uint64_t inode;
    int64_t changed_ns;
};
struct broker_manifest {
    struct mr_arena arena;
    mr_str cluster; /* empty: a backup that was begun and never completed */
    uint64_t run;   /* of the broker that was copied while it ran; 0: none */
    int64_t made_ms;
    MR_ARRAY(struct broker_manifest_file) files; /* by number, rising */
    struct mr_map by_path;                       /* of the index in `files`, plus 1 */
};
/* `text` is copied. Errors: MR_CORRUPT, MR_UNSUPPORTED; `where` is for the sentence. */
mr_err broker_manifest_read(mr_str text, const char *where, struct broker_manifest *out);
/* That of the folder. Errors: those, MR_NOT_FOUND, MR_IO, MR_DENIED. */
mr_err broker_manifest_open(const char *folder, struct broker_manifest *out);
/* Sorts the files by number. */
void broker_manifest_print(struct broker_manifest *manifest, struct mr_buf *out);
const struct broker_manifest_file *broker_manifest_find(const struct broker_manifest *manifest,
                                                        mr_str path);
void broker_manifest_fini(struct broker_manifest *manifest); /* zeros are accepted */
/* Whether a broker's folder has files of such a name: nothing else is ever written by a restore. */
bool broker_manifest_path_ok(mr_str path);

/* ---- source.c: what is to be copied ---- */
struct broker_source_file {
    mr_str path;      /* in a broker's folder */
    const char *from; /* where it is read, */
    int64_t offset;   /* and from which byte on */
    int64_t bytes, serial;
    bool growing; /* it may become longer; else it never changes again */
};
struct broker_source {
    struct mr_arena arena;
    mr_str cluster;
    uint64_t run; /* of the broker that runs; 0: it does not */
    MR_ARRAY(struct broker_source_file) files;
    struct mr_loop *loop; /* while the broker keeps the moment for us */
    struct net_conn *conn;
    struct mr_buf said; /* the broker's last line, */
    bool heard;         /* which nobody has looked at yet */
    int64_t told_us;    /* when it was told last that we go on */
};
/* `running`: the broker of this folder is asked for a moment, and keeps it until _close. Else nobody may use the
 * folder meanwhile. Errors: MR_NOT_FOUND (no log), MR_UNREACHABLE, MR_CONFLICT (it refuses), MR_IO, ... */
mr_err broker_source_open(mr_str folder, bool running, struct broker_source *out);
void broker_source_close(struct broker_source *source);
/* To be called again and again while copying: tells the broker that it goes on.
 * Errors: MR_CONFLICT (the broker has given the moment up, and says why), MR_CLOSED (it was stopped). */
mr_err broker_source_goes_on(struct broker_source *source);
mr_err broker_source_file(struct broker_source *source, const struct broker_source_file *file,
                          int *fd);

/* ---- bytes ---- */
struct broker_copy {
    const char *path, *path_out;      /* for sentences */
    int in, out;                      /* out -1: they are only read */
    int64_t offset;                   /* of the first byte in `in` */
    bool streams;                     /* `out` takes them one after the other, and has no places */
    struct broker_progress *progress; /* may be NULL */
    struct broker_source *source;     /* that is to know it goes on; may be NULL */
    int64_t done, all;
};
/* Reads the bytes [from, to), writes them at the same place, and takes *checksum further over them.
 * Errors: MR_CORRUPT (the file is shorter), MR_IO, MR_FULL. */
mr_err broker_copy_run(struct broker_copy *copy, int64_t from, int64_t to, uint32_t *checksum);
/* So many bytes need not be moved. */
void broker_copy_skip(struct broker_copy *copy, int64_t bytes);

#endif
