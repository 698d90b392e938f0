/* up/folder.c: commands for a data folder and its backups. */
#include "broker/broker.h"
#include "up/options.h"
#include "up/up.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int trouble(const char *command)
{
    fprintf(stderr, "millrace %s: %s\n", command, mr_why());
    return 1;
}

/* ---- how far it is ---- */

enum { TELL_TERMINAL_US = 200000, TELL_US = 10000000 };

struct meter {
    struct broker_progress progress;
    struct mr_clock clock;
    int64_t told_us;
    bool terminal, shown;
};

static void meter_tell(struct broker_progress *progress, int64_t done, int64_t all)
{
    struct meter *meter = mr_container(progress, struct meter, progress);
    int64_t now_us = mr_clock_mono_us(&meter->clock);

    if (now_us - meter->told_us < (meter->terminal ? TELL_TERMINAL_US : TELL_US))
        return;
    meter->told_us = now_us;
    meter->shown = true;
    fprintf(stderr, "%s%lld of %lld MB%s", meter->terminal ? "\r" : "", (long long)(done >> 20),
            (long long)(all >> 20), meter->terminal ? " " : "\n");
}

static void meter_begin(struct meter *meter)
{
    *meter = (struct meter){.progress = {meter_tell}, .terminal = isatty(STDERR_FILENO) == 1};
    mr_clock_init(&meter->clock);
    meter->told_us = mr_clock_mono_us(&meter->clock);
}

static void meter_end(const struct meter *meter)
{
    if (meter->terminal && meter->shown)
        fprintf(stderr, "\r%40s\r", "");
}

/* ---- backup, restore ---- */

/* Whose folder it is: ours from here on, or that of a log that runs. */
static mr_err log_find(struct up_options *options, struct mr_arena *arena, mr_str *log,
                       bool *running)
{
    const char *folder = NULL;
    char absolute[4096];
    mr_err err = up_options_folder_path(options, arena, &folder);

    if (err == MR_OK && realpath(folder, absolute) == NULL)
        err = mr_fail(MR_NOT_FOUND, "%s: there is no such data folder; name one with --data",
                      folder);
    if (err != MR_OK)
        return err;
    *log = mr_arena_printf(arena, "%s/broker", absolute);
    options->only_reads = true;
    err = up_options_folder(options, arena, &folder);
    *running = err == MR_BUSY;
    return *running ? MR_OK : err;
}

/* Its own folder is no place for a log's backup, which may not be there yet. */
static mr_err expect_elsewhere(struct mr_arena *arena, mr_str log, const char *into)
{
    mr_str parent = mr_arena_str(arena, mr_str_from(into));
    char absolute[4096];

    while (realpath(parent.length == 0 ? "." : mr_arena_cstr(arena, parent), absolute) == NULL &&
           parent.length > 0) {
        while (parent.length > 0 && parent.data[parent.length - 1] != '/')
            parent.length--;
        while (parent.length > 1 && parent.data[parent.length - 1] == '/')
            parent.length--;
        if (mr_str_equal(parent, MR_STR("/")))
            break;
    }
    if (!mr_str_starts(mr_str_from(absolute), log) ||
        (absolute[log.length] != '/' && absolute[log.length] != '\0'))
        return MR_OK;
    return mr_fail(MR_INVALID, "%s: lies in the log's own folder", into);
}

static int backup_run(struct mr_arena *arena, const char *to, mr_str log, bool running)
{
    bool stream = strcmp(to, "-") == 0;
    struct broker_backup report;
    struct meter meter;
    mr_err err;

    if (stream && isatty(STDOUT_FILENO) == 1) {
        fprintf(stderr, "millrace backup: a tar stream is not for a terminal\n");
        return 2;
    }
    meter_begin(&meter);
    err = stream ? MR_OK : expect_elsewhere(arena, log, to);
    if (err == MR_OK && stream)
        err = broker_backup_stream(log, running, STDOUT_FILENO, &meter.progress, &report);
    else if (err == MR_OK)
        err = broker_backup(log, running, mr_str_from(to), &meter.progress, &report);
    meter_end(&meter);
    if (err != MR_OK)
        return trouble("backup");
    fprintf(stream ? stderr : stdout,
            "%zu files, %lld bytes: %zu files and %lld bytes were copied, %zu files linked\n",
            report.files, (long long)report.bytes, report.files_moved - report.files_linked,
            (long long)report.bytes_moved, report.files_linked);
    return 0;
}

/* "broker FOLDER". */
static int read_folder(const char *command, int argc, char **argv, struct up_options *options)
{
    int status = up_options_read(command, argc, argv, options);

    if (status >= 0)
        return status;
    if (options->file_count == 2 && strcmp(options->files[0], "broker") == 0)
        return -1;
    fprintf(stderr, "millrace %s: expected `broker` and the backup's folder\n", command);
    return 2;
}

int up_command_backup(int argc, char **argv)
{
    struct up_options options;
    struct mr_arena arena;
    bool running = false;
    mr_str log;
    int status = read_folder("backup", argc, argv, &options);

    if (status >= 0)
        return status;
    mr_arena_init(&arena);
    if (log_find(&options, &arena, &log, &running) != MR_OK)
        status = trouble("backup");
    else
        status = backup_run(&arena, options.files[1], log, running);
    mr_arena_fini(&arena);
    return status;
}

int up_command_restore(int argc, char **argv)
{
    struct up_options options;
    struct broker_backup report;
    struct mr_arena arena;
    struct meter meter;
    const char *folder;
    mr_err err;
    int status = read_folder("restore", argc, argv, &options);

    if (status >= 0)
        return status;
    mr_arena_init(&arena);
    meter_begin(&meter);
    err = up_options_folder(&options, &arena, &folder);
    if (err == MR_OK)
        err = broker_restore(mr_str_from(options.files[1]),
                             mr_arena_printf(&arena, "%s/broker", folder), &meter.progress,
                             &report);
    meter_end(&meter);
    if (err == MR_OK)
        printf("%zu files, %lld bytes are back in %s/broker\n", report.files,
               (long long)report.bytes, folder);
    mr_arena_fini(&arena);
    return err == MR_OK ? 0 : trouble("restore");
}

/* ---- verify ---- */

static int verify_backup(const char *folder)
{
    struct broker_backup report;
    struct mr_buf text = {0};
    size_t faults = 0;
    char made[32];

    if (broker_backup_verify(mr_str_from(folder), &text, &report, &faults) != MR_OK)
        return trouble("verify");
    if (text.length > 0)
        fwrite(text.data, 1, text.length, stdout);
    mr_time_format(report.made_ms * 1000, 0, made);
    printf("%zu files, %lld bytes, made %s: %zu faults\n", report.files, (long long)report.bytes,
           made, faults);
    mr_buf_fini(&text);
    return faults == 0 ? 0 : 1;
}

int up_command_verify(int argc, char **argv)
{
    struct up_options options;
    struct broker_check check;
    struct mr_buf text = {0};
    struct mr_arena arena;
    const char *folder;
    int status = up_options_read("verify", argc, argv, &options);

    if (status >= 0)
        return status;
    if (options.file_count == 2 && strcmp(options.files[0], "backup") == 0)
        return verify_backup(options.files[1]);
    if (options.file_count != 1 || strcmp(options.files[0], "broker") != 0) {
        fprintf(stderr, "millrace verify: expected what to read: `broker`, or `backup` and its "
                        "folder\n");
        return 2;
    }
    mr_arena_init(&arena);
    options.only_reads = true;
    if (up_options_folder(&options, &arena, &folder) != MR_OK)
        return trouble("verify");
    if (broker_verify(mr_arena_printf(&arena, "%s/broker", folder), &text, &check) != MR_OK)
        return trouble("verify");
    if (text.length > 0)
        fwrite(text.data, 1, text.length, stdout);
    printf("%zu partitions, %zu segments, %lld batches, %lld bytes: %zu faults, %zu notes\n",
           check.partitions, check.segments, (long long)check.batches, (long long)check.bytes,
           check.faults, check.notes);
    mr_buf_fini(&text);
    mr_arena_fini(&arena);
    return check.faults == 0 ? 0 : 1;
}
