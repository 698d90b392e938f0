/* base/memory.h: heap, arenas, counted bytes. Nothing here returns NULL: no memory ends the process. */
#ifndef BASE_MEMORY_H
#define BASE_MEMORY_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/* ---- heap ---- */
void *mr_alloc(size_t bytes);                    /* not cleared; 0 bytes gives a pointer too */
void *mr_alloc_zero(size_t count, size_t bytes); /* cleared; checks the multiplication */
void *mr_realloc(void *memory, size_t bytes);
void mr_free(void *memory); /* accepts NULL */
#define mr_new(type) ((type *)mr_alloc_zero(1, sizeof(type)))
#define mr_new_array(type, count) ((type *)mr_alloc_zero((count), sizeof(type)))
char *mr_copy_cstr(mr_str text); /* NUL-ended heap copy; free with mr_free */

/* The struct that holds `member`, from a pointer to the member. */
#define mr_container(pointer, type, member) \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define mr_count_of(array) (sizeof(array) / sizeof((array)[0]))

/* ---- arena: owns everything of one request, query or chunk ---- */
struct mr_arena_block;
struct mr_arena {
    struct mr_arena_block *blocks; /* newest first */
    char *at, *end;                /* free room of the newest block */
    size_t bytes;                  /* held from the heap, all blocks */
};
void mr_arena_init(struct mr_arena *arena);
void mr_arena_fini(struct mr_arena *arena);  /* frees everything */
void mr_arena_reset(struct mr_arena *arena); /* forgets everything, keeps one block */
void *mr_arena_alloc_slow(struct mr_arena *arena, size_t bytes); /* mr_arena_alloc()'s other half */
static inline void *mr_arena_alloc(struct mr_arena *arena,
                                   size_t bytes) /* 16-aligned, not cleared */
{
    char *at = arena->at;
    if (__builtin_expect(bytes - 1 >= (size_t)(arena->end - at), 0)) /* 0 bytes wraps round: slow */
        return mr_arena_alloc_slow(arena, bytes);
    arena->at = at + ((bytes + 15) & ~(size_t)15);
    return at;
}
static inline void *mr_arena_alloc_zero(struct mr_arena *arena,
                                        size_t bytes) /* 16-aligned, cleared */
{
    return memset(mr_arena_alloc(arena, bytes), 0, bytes);
}
#define mr_arena_new(arena, type) ((type *)mr_arena_alloc_zero((arena), sizeof(type)))
#define mr_arena_array(arena, type, count) \
    ((type *)mr_arena_alloc_zero((arena), mr_size_product((count), sizeof(type))))
size_t mr_size_product(size_t count, size_t bytes);             /* asserts that it fits */
mr_str mr_arena_str(struct mr_arena *arena, mr_str text);       /* copy, NUL behind it */
const char *mr_arena_cstr(struct mr_arena *arena, mr_str text); /* the same as a C string */
mr_str mr_arena_printf(struct mr_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- counted bytes: written by their maker, immutable once a second holder exists ---- */
struct mr_bytes {
    _Atomic uint32_t refs;
    uint32_t blocks; /* size in the pool of large ones; 0: not of the pool */
    size_t length;   /* bytes in use; the maker may lower it */
    size_t capacity;
    uint8_t data[];
};
struct mr_bytes *mr_bytes_new(size_t capacity); /* refs 1, length = capacity, not cleared */
struct mr_bytes *mr_bytes_copy(const void *data, size_t length);
struct mr_bytes *mr_bytes_ref(struct mr_bytes *bytes); /* Thread: any */
/* Whether the caller's reference is the only one: then it may write again. */
bool mr_bytes_alone(const struct mr_bytes *bytes);
void mr_bytes_unref(struct mr_bytes *bytes); /* accepts NULL. Thread: any */

/* Gives back what is held for later: the pool of large counted bytes, the heap's free ends, and pages of
 * program text that only starting needed. For when things have become quiet. Thread: any */
void mr_memory_settle(void);

#endif
