/* bytes: borrowed bytes and big-endian integers. Thread: any (pure). */
#ifndef BYTES_H
#define BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes of somebody else's. */
struct slice {
    const uint8_t *bytes;
    size_t length;
};

static inline uint16_t read_be16(const uint8_t *bytes) {
    return (uint16_t)((uint32_t)bytes[0] << 8 | bytes[1]);
}

static inline uint32_t read_be32(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static inline uint64_t read_be64(const uint8_t *bytes) {
    return (uint64_t)read_be32(bytes) << 32 | read_be32(bytes + 4);
}

static inline void write_be32(uint8_t *bytes, uint32_t value) {
    bytes[0] = (uint8_t)(value >> 24);
    bytes[1] = (uint8_t)(value >> 16);
    bytes[2] = (uint8_t)(value >> 8);
    bytes[3] = (uint8_t)value;
}

#endif
