/* arena.h */
#include "testing.h"

#include "arena.h"

#include <stdalign.h>
#include <stdbool.h>

static bool is_aligned(const void *piece) {
    return (uintptr_t)piece % alignof(max_align_t) == 0;
}

static void test_first_block_is_used_before_malloc(void **state) {
    alignas(max_align_t) unsigned char first[256];
    struct arena arena;
    (void)state;

    arena_init(&arena, first, sizeof(first));
    for (int i = 0; i < 16; i++) {
        unsigned char *piece = arena_alloc(&arena, 16);
        assert_true(piece >= first && piece + 16 <= first + sizeof(first));
    }
    assert_null(arena.blocks);
    assert_non_null(arena_alloc(&arena, 1));
    assert_non_null(arena.blocks);
    arena_finish(&arena);
}

static void test_misaligned_first_block(void **state) {
    alignas(max_align_t) unsigned char first[64];
    struct arena arena;
    (void)state;

    for (size_t skip = 0; skip < sizeof(first); skip++) {
        arena_init(&arena, first + skip, sizeof(first) - skip);
        for (int i = 0; i < 4; i++) {
            unsigned char *piece = arena_alloc(&arena, 9);
            assert_true(is_aligned(piece));
            memset(piece, 0xff, 9);
        }
        arena_finish(&arena);
    }
}

static void test_pieces_of_all_sizes_are_aligned_and_apart(void **state) {
    enum { PIECES = 2000 };
    static unsigned char *pieces[PIECES];
    static size_t sizes[PIECES];
    struct arena arena;
    uint32_t seed = 7;
    (void)state;

    arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < PIECES; i++) {
        sizes[i] = next_random(&seed) % (i % 100 == 0 ? 300000 : 300);
        pieces[i] = arena_alloc(&arena, sizes[i]);
        assert_true(is_aligned(pieces[i]));
        memset(pieces[i], (int)(i & 0xff), sizes[i]);
    }
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t at = 0; at < sizes[i]; at++) {
            assert_int_equal(pieces[i][at], i & 0xff);
        }
    }
    arena_finish(&arena);
}

static void test_nothing_is_not_null(void **state) {
    struct arena arena = {0};
    (void)state;

    assert_non_null(arena_alloc(&arena, 0));
    arena_finish(&arena);
}

static void test_too_much_is_null_and_harmless(void **state) {
    struct arena arena;
    (void)state;

    arena_init(&arena, NULL, 0);
    assert_null(arena_alloc(&arena, SIZE_MAX));
    assert_null(arena_alloc(&arena, SIZE_MAX / 2 + 1));
    assert_non_null(arena_alloc(&arena, 10));
    arena_finish(&arena);
}

static void test_finish_twice_and_zeroed(void **state) {
    struct arena arena = {0};
    (void)state;

    arena_finish(&arena);
    assert_non_null(arena_alloc(&arena, 100));
    arena_finish(&arena);
    arena_finish(&arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_block_is_used_before_malloc),
        cmocka_unit_test(test_misaligned_first_block),
        cmocka_unit_test(test_pieces_of_all_sizes_are_aligned_and_apart),
        cmocka_unit_test(test_nothing_is_not_null),
        cmocka_unit_test(test_too_much_is_null_and_harmless),
        cmocka_unit_test(test_finish_twice_and_zeroed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
