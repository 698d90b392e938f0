/* fuzz/backup.c: what a backup says of itself. The input is a manifest as it stands, or (first byte 0) its rows, to
 * which head and checksum are added; what is taken is printed and read again. */
#include "broker/backup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void reads(mr_str text)
{
    struct broker_manifest manifest, again;
    struct mr_buf printed = {0};

    if (broker_manifest_read(text, "here", &manifest) != MR_OK)
        return;
    for (size_t i = 0; i < manifest.files.count; i++)
        mr_assert(broker_manifest_path_ok(manifest.files.items[i].path));
    broker_manifest_print(&manifest, &printed);
    mr_assert(broker_manifest_read(mr_buf_as_str(&printed), "here", &again) == MR_OK);
    mr_assert(again.files.count == manifest.files.count);
    broker_manifest_fini(&again);
    broker_manifest_fini(&manifest);
    mr_buf_fini(&printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mr_buf text = {0};

    if (size == 0 || data[0] != 0) {
        reads(mr_str_of(data, size));
        return 0;
    }
    mr_buf_cstr(&text, "millrace-backup 1\n");
    mr_buf_add(&text, data + 1, size - 1);
    mr_buf_printf(&text, "end %08x\n", mr_crc32c(0, text.data, text.length));
    reads(mr_buf_as_str(&text));
    mr_buf_fini(&text);
    return 0;
}
