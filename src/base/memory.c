/* base/memory.c: heap, arenas and counted bytes. The one place that calls the system's allocator:
 * when it has nothing left, the process ends with a sentence, so that no caller handles NULL.
 *
 * An arena is a list of blocks, newest first; each block is 16-aligned and so is everything in it.
 *
 * Large counted bytes come and go at the rate of the data, and the kernel takes longer to clear a page
 * than the data takes to pass through it: a few of each size are kept for the next one. */
#include "base/memory.h"

#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- heap ---- */

static _Noreturn void out_of_memory(size_t bytes)
{
    char text[128];
    int length = snprintf(text, sizeof text, "millrace: no memory: %zu bytes refused\n", bytes);
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0)
        abort();
    abort();
}

size_t mr_size_product(size_t count, size_t bytes)
{
    size_t product = 0;
    bool overflow = __builtin_mul_overflow(count, bytes, &product);
    mr_assert(!overflow);
    return product;
}

void *mr_alloc(size_t bytes)
{
    void *memory = malloc(bytes > 0 ? bytes : 1);
    if (memory == NULL)
        out_of_memory(bytes);
    return memory;
}

void *mr_alloc_zero(size_t count, size_t bytes)
{
    size_t product = mr_size_product(count, bytes);
    void *memory = calloc(1, product > 0 ? product : 1);
    if (memory == NULL)
        out_of_memory(product);
    return memory;
}

void *mr_realloc(void *memory, size_t bytes)
{
    void *moved = realloc(memory, bytes > 0 ? bytes : 1);
    if (moved == NULL)
        out_of_memory(bytes);
    return moved;
}

void mr_free(void *memory)
{
    free(memory);
}

char *mr_copy_cstr(mr_str text)
{
    char *copy = mr_alloc(text.length + 1);
    if (text.length > 0)
        memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    return copy;
}

/* ---- arena ---- */

enum {
    ARENA_FIRST_BYTES = 4096,
    ARENA_BLOCK_BYTES_MAX =
        1 << 20, /* doubling ends here; larger wishes get a block of their own */
};

struct mr_arena_block {
    struct mr_arena_block *older;
    size_t bytes; /* header included */
};
static_assert(sizeof(struct mr_arena_block) % 16 == 0, "what follows the header is 16-aligned");

void mr_arena_init(struct mr_arena *arena)
{
    *arena = (struct mr_arena){0};
}

void mr_arena_fini(struct mr_arena *arena)
{
    struct mr_arena_block *block = arena->blocks;
    while (block != NULL) {
        struct mr_arena_block *older = block->older;
        free(block);
        block = older;
    }
    *arena = (struct mr_arena){0};
}

void mr_arena_reset(struct mr_arena *arena)
{
    struct mr_arena_block *kept = arena->blocks;
    if (kept == NULL)
        return;
    if (kept->bytes >
        ARENA_BLOCK_BYTES_MAX) { /* one huge request does not hold its memory for ever */
        mr_arena_fini(arena);
        return;
    }
    for (struct mr_arena_block *block = kept->older; block != NULL;) {
        struct mr_arena_block *older = block->older;
        free(block);
        block = older;
    }
    kept->older = NULL;
    arena->at = (char *)(kept + 1);
    arena->end = (char *)kept + kept->bytes;
    arena->bytes = kept->bytes;
}

void *mr_arena_alloc_slow(struct mr_arena *arena, size_t bytes)
{
    mr_assert(bytes <= SIZE_MAX - 4096);
    size_t wish = ((bytes > 0 ? bytes : 1) + 15) & ~(size_t)15;
    if (wish <=
        (size_t)(arena->end - arena->at)) { /* 0 bytes: an address of their own is all they need */
        char *at = arena->at;
        arena->at += wish;
        return at;
    }
    size_t block_bytes = arena->bytes < ARENA_FIRST_BYTES ? ARENA_FIRST_BYTES : arena->bytes;
    if (block_bytes > ARENA_BLOCK_BYTES_MAX)
        block_bytes = ARENA_BLOCK_BYTES_MAX;
    bool own = wish > block_bytes / 2 && arena->blocks != NULL;
    if (own || wish + sizeof(struct mr_arena_block) > block_bytes)
        block_bytes = wish + sizeof(struct mr_arena_block);
    block_bytes &= ~(size_t)15;
    struct mr_arena_block *block = mr_alloc(block_bytes);
    block->bytes = block_bytes;
    arena->bytes += block_bytes;
    if (own) { /* behind the newest block, whose free room stays in use */
        block->older = arena->blocks->older;
        arena->blocks->older = block;
        return block + 1;
    }
    block->older = arena->blocks;
    arena->blocks = block;
    arena->at = (char *)(block + 1) + wish;
    arena->end = (char *)block + block_bytes;
    return block + 1;
}

mr_str mr_arena_str(struct mr_arena *arena, mr_str text)
{
    char *copy = mr_arena_alloc(arena, text.length + 1);
    if (text.length > 0)
        memcpy(copy, text.data, text.length);
    copy[text.length] = '\0';
    return (mr_str){copy, text.length};
}

const char *mr_arena_cstr(struct mr_arena *arena, mr_str text)
{
    return mr_arena_str(arena, text).data;
}

mr_str mr_arena_printf(struct mr_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    mr_assert(length >= 0);
    char *text = mr_arena_alloc(arena, (size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(args);
    return (mr_str){text, (size_t)length};
}

/* ---- counted bytes ---- */

enum {
    POOL_BLOCK_BYTES = 64 << 10,
    POOL_SIZES = 20, /* up to 1.25 MB; larger ones are rare */
    POOL_BYTES_MAX = 8 << 20,
};
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool pooled = false; /* a use after the end must be seen */
#else
static const bool pooled = true;
#endif
union pool_item {
    struct mr_bytes bytes;
    union pool_item *next;
};
static struct {
    pthread_mutex_t lock;
    size_t bytes;
    union pool_item *free[POOL_SIZES + 1];
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER};

static union pool_item *pool_take(uint32_t blocks)
{
    pthread_mutex_lock(&pool.lock);
    union pool_item *item = pool.free[blocks];
    if (item != NULL) {
        pool.free[blocks] = item->next;
        pool.bytes -= (size_t)blocks * POOL_BLOCK_BYTES;
    }
    pthread_mutex_unlock(&pool.lock);
    return item;
}

/* Takes one of another size than `but`, so that sizes of yesterday do not fill the pool for ever. */
static union pool_item *pool_take_other(uint32_t but)
{
    for (uint32_t blocks = 1; blocks <= POOL_SIZES; blocks++) {
        union pool_item *item = blocks == but ? NULL : pool_take(blocks);
        if (item != NULL)
            return item;
    }
    return NULL;
}

/* False: the pool is full. */
static bool pool_put(union pool_item *item, uint32_t blocks)
{
    pthread_mutex_lock(&pool.lock);
    bool room = pool.bytes + (size_t)blocks * POOL_BLOCK_BYTES <= POOL_BYTES_MAX;
    if (room) {
        item->next = pool.free[blocks];
        pool.free[blocks] = item;
        pool.bytes += (size_t)blocks * POOL_BLOCK_BYTES;
    }
    pthread_mutex_unlock(&pool.lock);
    return room;
}

static void pool_give(union pool_item *item, uint32_t blocks)
{
    while (!pool_put(item, blocks)) {
        union pool_item *other = pool_take_other(blocks);
        free(other == NULL ? item : other);
        if (other == NULL)
            return;
    }
}

static void pool_empty(void)
{
    for (uint32_t blocks = 1; blocks <= POOL_SIZES; blocks++) {
        union pool_item *item;
        while ((item = pool_take(blocks)) != NULL)
            free(item);
    }
}

struct mr_bytes *mr_bytes_new(size_t capacity)
{
    mr_assert(capacity <= SIZE_MAX - sizeof(struct mr_bytes) - POOL_BLOCK_BYTES);
    size_t size = sizeof(struct mr_bytes) + capacity;
    size_t blocks = (size + POOL_BLOCK_BYTES - 1) / POOL_BLOCK_BYTES;
    struct mr_bytes *bytes = NULL;
    if (!pooled || size < POOL_BLOCK_BYTES || blocks > POOL_SIZES)
        blocks = 0;
    if (blocks > 0) {
        bytes = (struct mr_bytes *)pool_take((uint32_t)blocks);
        size = blocks * POOL_BLOCK_BYTES;
    }
    if (bytes == NULL)
        bytes = mr_alloc(size);
    atomic_init(&bytes->refs, 1);
    bytes->blocks = (uint32_t)blocks;
    bytes->length = capacity;
    bytes->capacity = capacity;
    return bytes;
}

struct mr_bytes *mr_bytes_copy(const void *data, size_t length)
{
    struct mr_bytes *bytes = mr_bytes_new(length);
    if (length > 0)
        memcpy(bytes->data, data, length);
    return bytes;
}

struct mr_bytes *mr_bytes_ref(struct mr_bytes *bytes)
{
    uint32_t before = atomic_fetch_add_explicit(&bytes->refs, 1, memory_order_relaxed);
    mr_assert(before > 0 && before < UINT32_MAX);
    return bytes;
}

bool mr_bytes_alone(const struct mr_bytes *bytes)
{
    return atomic_load_explicit(&bytes->refs, memory_order_acquire) == 1;
}

void mr_bytes_unref(struct mr_bytes *bytes)
{
    if (bytes == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&bytes->refs, 1, memory_order_acq_rel);
    mr_assert(before > 0);
    if (before > 1)
        return;
    if (bytes->blocks > 0)
        pool_give((union pool_item *)bytes, bytes->blocks);
    else
        free(bytes);
}

/* ---- quiet ---- */

/* Text is never written, so its pages can go: they come back from the page cache when they are needed. */
static int text_release(struct dl_phdr_info *object, size_t size, void *context)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1;
    (void)size;
    (void)context;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || (part->p_flags & PF_X) == 0 || (part->p_flags & PF_W) != 0)
            continue;
        uintptr_t from = (object->dlpi_addr + part->p_vaddr + page) & ~page;
        uintptr_t to = (object->dlpi_addr + part->p_vaddr + part->p_memsz) & ~page;
        if (to > from)
            madvise((void *)from, to - from, MADV_DONTNEED);
    }
    return 0;
}

void mr_memory_settle(void)
{
    pool_empty();
    malloc_trim(0);
    dl_iterate_phdr(text_release, NULL);
}
