/* The record bytes of a fetched partition: cut, verified and merged in one pass, as wire/batch.py and wire/merging.py do it.

   Those say what is right and why; this only says the same faster, for what is usual. Whatever is not (damage, old formats,
   numbers that no producer writes) is answered with None before a byte was written, and Python decides. The bytes are a
   stranger's: every length is compared with what is left before it is used, and all arithmetic on their numbers is unsigned. */

#define Py_LIMITED_API 0x030B0000 /* Python 3.11, the first with buffers in the stable ABI; for all that come after it */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

/* Checksums of more bytes are left to the library that Python uses, which then has faster ways. */
#define MOST_FOR_OUR_CHECKSUM 2048

/* Of a batch, as wire/batch.py has it. */
#define HEADER_BYTES 61
#define PREFIX_BYTES 12
#define CRC_AT 17
#define ATTRIBUTES_AT 21
#define MAGIC 2
#define TRANSACTIONAL 16
#define CODEC_BITS 7
#define LAST_CODEC 4

typedef struct {
    size_t position, size; /* where it lies */
    int64_t base_offset, last_offset, base_timestamp, newest, producer_id;
    int32_t count, leader_epoch, sequence;
    int16_t attributes, epoch;
    int is_plain, is_merged;
} Batch;

typedef enum { DONE, ODD, FAILED } Outcome; /* FAILED: with a Python exception */

/* Numbers in network order. */

static uint32_t get32(const uint8_t *at) {
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t get64(const uint8_t *at) { return (uint64_t)get32(at) << 32 | get32(at + 4); }

static int16_t get16(const uint8_t *at) { return (int16_t)(at[0] << 8 | at[1]); }

static void put32(uint8_t *at, uint32_t value) {
    for (int byte = 0; byte < 4; byte++) at[byte] = (uint8_t)(value >> (24 - 8 * byte));
}

static void put64(uint8_t *at, uint64_t value) {
    put32(at, (uint32_t)(value >> 32));
    put32(at + 4, (uint32_t)value);
}

/* CRC-32C (RFC 3720): by the processor's instruction where it is known to be there, else eight bytes at a time by tables. */

static uint32_t tables[8][256];

static void fill_tables(void) {
    for (uint32_t number = 0; number < 256; number++) {
        uint32_t crc = number;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
        tables[0][number] = crc;
    }
    for (int table = 1; table < 8; table++)
        for (int number = 0; number < 256; number++)
            tables[table][number] = tables[table - 1][number] >> 8 ^ tables[0][tables[table - 1][number] & 0xFF];
}

static uint32_t crc_by_tables(uint32_t crc, const uint8_t *at, size_t size) {
    for (; size >= 8; at += 8, size -= 8) {
        crc ^= (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
        crc = tables[7][crc & 0xFF] ^ tables[6][crc >> 8 & 0xFF] ^ tables[5][crc >> 16 & 0xFF] ^ tables[4][crc >> 24] ^
              tables[3][at[4]] ^ tables[2][at[5]] ^ tables[1][at[6]] ^ tables[0][at[7]];
    }
    for (; size; at++, size--) crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xFF];
    return crc;
}

static uint32_t (*crc_of)(uint32_t, const uint8_t *, size_t) = crc_by_tables;

#if defined(__x86_64__) && defined(__GNUC__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) static uint32_t crc_by_instruction(uint32_t crc, const uint8_t *at, size_t size) {
    uint64_t wide = crc;
    for (; size >= 8; at += 8, size -= 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        wide = _mm_crc32_u64(wide, word);
    }
    crc = (uint32_t)wide;
    for (; size; at++, size--) crc = _mm_crc32_u8(crc, *at);
    return crc;
}

static void choose_crc(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse4.2")) crc_of = crc_by_instruction;
}
#else
static void choose_crc(void) {}
#endif

static Outcome checksum(PyObject *larger, uint8_t *at, size_t size, uint32_t *answer) {
    if (size <= MOST_FOR_OUR_CHECKSUM) {
        *answer = ~crc_of(~0u, at, size);
        return DONE;
    }
    PyObject *view = PyMemoryView_FromMemory((char *)at, (Py_ssize_t)size, PyBUF_READ);
    PyObject *found = view != NULL ? PyObject_CallFunctionObjArgs(larger, view, NULL) : NULL;
    Py_XDECREF(view);
    if (found == NULL) return FAILED;
    unsigned long number = PyLong_AsUnsignedLong(found);
    Py_DECREF(found);
    if (number == (unsigned long)-1 && PyErr_Occurred()) return FAILED;
    *answer = (uint32_t)number;
    return DONE;
}

/* What wire/batch.py's split does. */

static Outcome read_batch(uint8_t *data, size_t left, int64_t after, PyObject *larger, Batch *batch) {
    int32_t length = (int32_t)get32(data + 8);
    if (data[16] != MAGIC || length < HEADER_BYTES - PREFIX_BYTES) return ODD;
    batch->is_merged = 0;
    batch->size = (size_t)length + PREFIX_BYTES;
    if (batch->size > left) return DONE; /* cut off: the caller looks */
    uint32_t crc;
    Outcome outcome = checksum(larger, data + ATTRIBUTES_AT, batch->size - ATTRIBUTES_AT, &crc);
    if (outcome != DONE) return outcome;
    int32_t last_delta = (int32_t)get32(data + 23);
    batch->base_offset = (int64_t)get64(data);
    batch->leader_epoch = (int32_t)get32(data + 12);
    batch->attributes = get16(data + ATTRIBUTES_AT);
    batch->base_timestamp = (int64_t)get64(data + 27);
    batch->newest = (int64_t)get64(data + 35);
    batch->producer_id = (int64_t)get64(data + 43);
    batch->epoch = get16(data + 51);
    batch->sequence = (int32_t)get32(data + 53);
    batch->count = (int32_t)get32(data + 57);
    if (crc != get32(data + CRC_AT) || last_delta < 0 || batch->count < 0 || batch->count > (int64_t)last_delta + 1) return ODD;
    if ((batch->attributes & CODEC_BITS) > LAST_CODEC || batch->base_offset <= after) return ODD;
    if (batch->base_offset > INT64_MAX - 1 - last_delta) return ODD;
    batch->last_offset = batch->base_offset + last_delta;
    return DONE;
}

/* Cuts all of the bytes; the batches are the caller's to free. */
static Outcome cut_all(uint8_t *data, size_t size, PyObject *larger, Batch **batches, size_t *count) {
    size_t position = 0, room = 0;
    int64_t after = -1;
    while (size - position >= HEADER_BYTES) {
        if (*count == room) {
            room = room ? room * 2 : 64;
            Batch *more = PyMem_Realloc(*batches, room * sizeof(Batch));
            if (more == NULL) {
                PyErr_NoMemory();
                return FAILED;
            }
            *batches = more;
        }
        Batch *batch = *batches + *count;
        Outcome outcome = read_batch(data + position, size - position, after, larger, batch);
        if (outcome != DONE) return outcome;
        if (batch->size > size - position) return DONE;
        batch->position = position;
        position += batch->size;
        after = batch->last_offset;
        ++*count;
    }
    return DONE;
}

/* What wire/merging.py's merge does. */

/* A cursor in the bytes of a batch; all that reads looks at `end`. */
typedef struct {
    const uint8_t *at, *end;
} Reader;

typedef enum { READ, IMPOSSIBLE, UNUSUAL } Reading;

static Reading read_varint(Reader *reader, int64_t *value) {
    uint64_t bits = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        if (reader->at == reader->end) return IMPOSSIBLE;
        uint8_t byte = *reader->at++;
        if (shift == 63 && (byte & 0x7F) > 1) return UNUSUAL; /* more than 64 bits: Python counts on with them */
        bits |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *value = (int64_t)(bits >> 1 ^ (~(bits & 1) + 1));
            return READ;
        }
    }
    return IMPOSSIBLE;
}

static size_t write_varint(uint8_t *at, uint64_t signed_value) {
    uint64_t bits = signed_value << 1 ^ (~(signed_value >> 63) + 1);
    size_t size = 0;
    for (; bits >= 0x80; bits >>= 7) at[size++] = (uint8_t)(bits | 0x80);
    at[size++] = (uint8_t)bits;
    return size;
}

#define LONGEST_VARINT 10

/* A batch that is being made of others; it may not become larger than they are. */
typedef struct {
    uint8_t *at, *end;
    uint64_t base;
    int64_t newest;
    uint64_t count;
} Writer;

static int write_record(Writer *writer, uint64_t timestamp, uint8_t flags, const uint8_t *rest, size_t size) {
    uint8_t deltas[2 * LONGEST_VARINT];
    if (!writer->count) writer->base = timestamp;
    if ((int64_t)timestamp > writer->newest) writer->newest = (int64_t)timestamp;
    size_t spent = write_varint(deltas, timestamp - writer->base);
    spent += write_varint(deltas + spent, writer->count++);
    if ((size_t)(writer->end - writer->at) < LONGEST_VARINT + 1 + spent + size) {
        uint8_t length[LONGEST_VARINT]; /* close to the end, it is measured */
        if ((size_t)(writer->end - writer->at) < write_varint(length, 1 + spent + size) + 1 + spent + size) return 0;
    }
    writer->at += write_varint(writer->at, 1 + spent + size);
    *writer->at++ = flags;
    memcpy(writer->at, deltas, spent);
    memcpy(writer->at + spent, rest, size);
    writer->at += spent + size;
    return 1;
}

/* Answers READ also where there was no room, which `full` says: what comes after may still be unusual. */
static Reading copy_records(const uint8_t *data, const Batch *batch, Writer *writer, int *full) {
    Reader reader = {data + batch->position + HEADER_BYTES, data + batch->position + batch->size};
    for (int32_t number = 0; number < batch->count; number++) {
        int64_t length, time, place;
        Reading reading = read_varint(&reader, &length);
        if (reading != READ) return reading;
        if (length < 1 || length > reader.end - reader.at) return IMPOSSIBLE;
        Reader record = {reader.at + 1, reader.at + length};
        uint8_t flags = *reader.at;
        if ((reading = read_varint(&record, &time)) != READ) return reading;
        if ((reading = read_varint(&record, &place)) != READ) return reading;
        if (place != number) return IMPOSSIBLE;
        if (!*full)
            *full = !write_record(
                writer, (uint64_t)batch->base_timestamp + (uint64_t)time, flags, record.at, (size_t)(record.end - record.at));
        reader.at = record.end;
    }
    return reader.at == reader.end ? READ : IMPOSSIBLE;
}

/* Makes one batch of a run at its place in `made`, and describes it in the run's first; leaves it if that cannot be. */
static Outcome merge_run(const uint8_t *data, uint8_t *made, Batch *run, size_t count, PyObject *larger) {
    const Batch *last = run + count - 1;
    uint8_t *start = made + run->position;
    Writer writer = {start + HEADER_BYTES, made + last->position + last->size, 0, INT64_MIN, 0};
    int full = 0;
    for (size_t number = 0; number < count; number++) {
        Reading reading = copy_records(data, run + number, &writer, &full);
        if (reading == UNUSUAL) return ODD;
        if (reading == IMPOSSIBLE) return DONE;
    }
    if (full) return DONE;
    size_t size = (size_t)(writer.at - start);
    uint64_t records = (uint64_t)last->last_offset - (uint64_t)run->base_offset + 1;
    put64(start, 0);
    put32(start + 8, (uint32_t)(size - PREFIX_BYTES));
    put32(start + 12, UINT32_MAX); /* leader epoch -1 */
    start[16] = MAGIC;
    start[ATTRIBUTES_AT] = start[ATTRIBUTES_AT + 1] = 0;
    put32(start + 23, (uint32_t)records - 1);
    put64(start + 27, writer.base);
    put64(start + 35, (uint64_t)writer.newest);
    memset(start + 43, 0xFF, 14); /* producer id, epoch and sequence -1 */
    put32(start + 57, (uint32_t)records);
    uint32_t crc;
    Outcome outcome = checksum(larger, start + ATTRIBUTES_AT, size - ATTRIBUTES_AT, &crc);
    if (outcome != DONE) return outcome;
    put32(start + CRC_AT, crc);
    run->last_offset = last->last_offset;
    run->size = size;
    run->count = (int32_t)records;
    run->attributes = 0;
    run->newest = writer.newest;
    run->producer_id = -1;
    run->epoch = -1;
    run->sequence = -1;
    run->is_merged = 1;
    return DONE;
}

/* Finds out whether a batch may become part of another, as wire/merging.py's _runs has it. */
static Outcome look_at(Batch *batch, int most_records, PyObject *aborting) {
    int64_t span = batch->last_offset - batch->base_offset;
    batch->is_plain = (!batch->attributes || batch->attributes == TRANSACTIONAL) && span < most_records && span + 1 == batch->count;
    if (!batch->is_plain || !batch->attributes) return DONE;
    PyObject *producer_id = PyLong_FromLongLong(batch->producer_id);
    int is_aborting = producer_id != NULL ? PySequence_Contains(aborting, producer_id) : -1;
    Py_XDECREF(producer_id);
    batch->is_plain = !is_aborting;
    return is_aborting < 0 ? FAILED : DONE;
}

/* Merges what can be merged, and shortens the list of batches to what is there then. */
static Outcome merge_all(
    uint8_t *data, Batch *batches, size_t *count, PyObject *aborting, int most_records, Py_ssize_t most_bytes,
    PyObject *larger) {
    if (*count < 2) return DONE;
    const Batch *end = batches + *count;
    size_t size = end[-1].position + end[-1].size, kept = 0;
    uint8_t *made = NULL;
    Outcome outcome = DONE;
    for (Batch *batch = batches; batch < end; batch++)
        if ((outcome = look_at(batch, most_records, aborting)) != DONE) return outcome;
    for (Batch *run = batches, *next; run < end; run = next) {
        Py_ssize_t room = run->is_plain ? most_bytes - (Py_ssize_t)(run->size - HEADER_BYTES) : -1;
        for (next = run + 1; next < end && next->is_plain && next->base_offset == next[-1].last_offset + 1 &&
                             next->leader_epoch == run->leader_epoch && (Py_ssize_t)(next->size - HEADER_BYTES) <= room;
             next++)
            room -= (Py_ssize_t)(next->size - HEADER_BYTES);
        if (next - run > 1) {
            if (made == NULL && (made = PyMem_Malloc(size)) == NULL) {
                PyErr_NoMemory();
                return FAILED;
            }
            outcome = merge_run(data, made, run, (size_t)(next - run), larger);
            if (outcome != DONE) break;
        }
        const Batch *rest = run->is_merged ? run + 1 : next;
        for (const Batch *batch = run; batch < rest; batch++) batches[kept++] = *batch;
    }
    if (outcome == DONE) {
        *count = kept;
        /* Only now, since nothing can be odd any more. */
        for (const Batch *batch = batches; made != NULL && batch < batches + kept; batch++)
            if (batch->is_merged) memcpy(data + batch->position, made + batch->position, batch->size);
    }
    PyMem_Free(made);
    return outcome;
}

static PyObject *described(const Batch *batches, size_t count) {
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (size_t number = 0; list != NULL && number < count; number++) {
        const Batch *batch = batches + number;
        PyObject *entry = Py_BuildValue(
            "n(LLiiinLiiiL)", (Py_ssize_t)batch->position, (long long)batch->base_offset, (long long)batch->last_offset,
            (int)batch->count, (int)batch->attributes, MAGIC, (Py_ssize_t)batch->size, (long long)batch->producer_id,
            (int)batch->epoch, (int)batch->sequence, (int)batch->leader_epoch, (long long)batch->newest);
        if (entry == NULL || PyList_SetItem(list, (Py_ssize_t)number, entry) < 0) Py_CLEAR(list);
    }
    return list;
}

static PyObject *cut(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *records, *aborting, *larger;
    int merges, most_records;
    Py_ssize_t most_bytes;
    if (!PyArg_ParseTuple(args, "OOpinO:cut", &records, &aborting, &merges, &most_records, &most_bytes, &larger)) return NULL;
    Py_buffer view;
    if (PyObject_GetBuffer(records, &view, merges ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) return NULL;
    Batch *batches = NULL;
    size_t count = 0, found = 0;
    Outcome outcome = cut_all(view.buf, (size_t)view.len, larger, &batches, &count);
    found = count;
    if (outcome == DONE && merges)
        outcome = merge_all(view.buf, batches, &count, aborting, most_records, most_bytes, larger);
    PyObject *answer = NULL;
    if (outcome == DONE) {
        PyObject *list = described(batches, count);
        if (list != NULL) answer = Py_BuildValue("nN", (Py_ssize_t)found, list);
    } else if (outcome == ODD) {
        answer = Py_NewRef(Py_None);
    }
    PyMem_Free(batches);
    PyBuffer_Release(&view);
    return answer;
}

/* For the tests: both ways to a checksum, whichever the processor would choose. */
static PyObject *checksums(PyObject *module, PyObject *data) {
    (void)module;
    Py_buffer view;
    if (PyObject_GetBuffer(data, &view, PyBUF_SIMPLE) < 0) return NULL;
    uint32_t slow = ~crc_by_tables(~0u, view.buf, (size_t)view.len), chosen = ~crc_of(~0u, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return Py_BuildValue("kk", (unsigned long)slow, (unsigned long)chosen);
}

static PyMethodDef methods[] = {
    {"cut", cut, METH_VARARGS, "Cuts, verifies and merges; None if Python is to decide. See _cutting.pyi."},
    {"checksums", checksums, METH_O, "The CRC-32C of some bytes by the tables, and by the way that is used."},
    {NULL, NULL, 0, NULL},
};

static int start(PyObject *module) {
    (void)module;
    fill_tables();
    choose_crc();
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, start}, {0, NULL}};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_cutting", "See _cutting.pyi.", 0, methods, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__cutting(void) { return PyModuleDef_Init(&definition); }
