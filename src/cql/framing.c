/* cql/framing.c: how a link's frames go onto its connection and come off it.
 *
 * A request is encoded once, as version 4 has it, and that is what a repeat is copied from. A link of
 * version 4 sends it as it stands, or with its body packed by lz4. A link of version 5 writes it anew in
 * version 5's words, as many frames to a segment as fit; a frame that is longer goes in several segments. */
#include "cql/session.h"

enum { PACK_BYTES = 512 /* smaller bodies are not worth compressing */ };

/* ---- version 5's words ---- */

static void flags_widen(struct mr_buf *out, struct mr_in *in)
{
    mr_buf_be16(out, mr_in_be16(in)); /* consistency */
    mr_buf_be32(out, mr_in_u8(in));
}

/* A frame of version 4 that this client has encoded (sections 4.1.4 to 4.1.6 of both). */
static void frame_translate(struct mr_buf *out, const struct cql_link *link,
                            const struct cql_header *header, mr_str body)
{
    struct mr_in in = mr_in_str(body);
    const struct cql_call *call = link->streams[header->stream];
    size_t begin = cql_frame_begin(out, CQL_VERSION_5, 0, header->stream,
                                   (enum cql_opcode)header->opcode);
    if (header->opcode == CQL_OPCODE_QUERY) {
        cql_write_long_string(out, cql_read_long_string(&in));
        flags_widen(out, &in);
    } else if (header->opcode == CQL_OPCODE_EXECUTE) {
        cql_write_short_bytes(out, cql_read_short_bytes(&in));
        cql_write_short_bytes(
            out, call != NULL && call->prepared != NULL ? call->prepared->columns_id : MR_STR(""));
        flags_widen(out, &in);
    }
    mr_buf_str(out, mr_str_of(in.at, mr_in_left(&in)));
    if (header->opcode == CQL_OPCODE_PREPARE)
        mr_buf_be32(out, 0); /* no flags */
    cql_frame_end(out, begin);
    mr_assert(in.err == MR_OK);
}

static void segments_send(struct cql_link *link, mr_str frames)
{
    struct mr_buf *out = net_out(link->conn);
    bool lz4 = link->client->options.lz4, whole = frames.length <= CQL_SEGMENT_PAYLOAD_MAX;
    while (frames.length > 0) {
        size_t part = whole || frames.length < CQL_SEGMENT_PAYLOAD_MAX ? frames.length
                                                                       : CQL_SEGMENT_PAYLOAD_MAX;
        cql_segment_write(out, mr_str_of(frames.data, part), whole, lz4);
        frames = mr_str_of(frames.data + part, frames.length - part);
    }
}

/* ---- sending ---- */

/* The next frame of the link's open end. */
static mr_str frame_next(const struct cql_link *link, struct cql_header *header)
{
    const uint8_t *at = link->out.chunk->data + link->out.sent;
    struct mr_in in = mr_in_str(mr_str_of(at, CQL_HEADER_BYTES));
    cql_header_read(&in, header);
    return mr_str_of(at, CQL_HEADER_BYTES + (size_t)header->length);
}

static mr_str body_of(mr_str frame)
{
    return mr_str_of(frame.data + CQL_HEADER_BYTES, frame.length - CQL_HEADER_BYTES);
}

static void flush_segments(struct cql_link *link)
{
    struct mr_buf *frames = &link->client->frames;
    mr_buf_clear(frames);
    while (link->out.sent < link->out.at) {
        struct cql_header header;
        mr_str frame = frame_next(link, &header);
        size_t before = frames->length;
        frame_translate(frames, link, &header, body_of(frame));
        link->out.sent += frame.length;
        if (before > 0 && frames->length > CQL_SEGMENT_PAYLOAD_MAX) { /* it begins the next one */
            mr_str last = mr_str_of(frames->data + before, frames->length - before);
            segments_send(link, mr_str_of(frames->data, before));
            memmove(frames->data, last.data, last.length);
            frames->length = last.length;
        }
        if (frames->length > CQL_SEGMENT_PAYLOAD_MAX) { /* it is too long for one */
            segments_send(link, mr_buf_as_str(frames));
            mr_buf_clear(frames);
        }
    }
    segments_send(link, mr_buf_as_str(frames));
}

static void flush_packed(struct cql_link *link)
{
    while (link->out.sent < link->out.at) {
        struct cql_header header;
        mr_str frame = frame_next(link, &header), body = body_of(frame);
        if (body.length < PACK_BYTES) {
            net_send_bytes(link->conn, link->out.chunk, link->out.sent, frame.length);
        } else {
            struct mr_buf *out = net_out(link->conn);
            size_t begin = cql_frame_begin(out, CQL_VERSION, CQL_FRAME_COMPRESSED, header.stream,
                                           (enum cql_opcode)header.opcode);
            cql_lz4_pack(out, body);
            cql_frame_end(out, begin);
        }
        link->out.sent += frame.length;
    }
}

void cql_framing_flush(struct cql_link *link)
{
    if (link->conn != NULL && link->out.at > link->out.sent) {
        if (link->segmented)
            flush_segments(link);
        else if (link->client->options.lz4)
            flush_packed(link);
        else
            net_send_bytes(link->conn, link->out.chunk, link->out.sent,
                           link->out.at - link->out.sent);
    }
    link->out.sent = link->out.at;
}

void cql_framing_send(struct cql_link *link, mr_str frame)
{
    if (link->segmented)
        segments_send(link, frame);
    else
        net_send(link->conn, frame.data, frame.length);
}

/* ---- receiving ---- */

static mr_err length_check(const struct cql_header *header)
{
    return header->length <= MR_LIMIT_FRAME_BYTES
               ? MR_OK
               : mr_fail(MR_LIMIT, "a CQL answer: at most %d bytes, it has %u",
                         MR_LIMIT_FRAME_BYTES, header->length);
}

mr_err cql_framing_length(const struct cql_link *link, mr_str seen, size_t *total)
{
    struct cql_header header;
    *total = 0;
    if (link->segmented)
        return cql_segment_length(seen, link->client->options.lz4, total);
    if (seen.length < CQL_HEADER_BYTES)
        return MR_OK;
    struct mr_in in = mr_in_str(seen);
    cql_header_read(&in, &header);
    *total = CQL_HEADER_BYTES + (size_t)header.length;
    return length_check(&header);
}

static mr_err frame_tell(struct cql_link *link, mr_str frame, cql_framing_told *told)
{
    struct mr_in in = mr_in_str(frame);
    struct cql_header header;
    cql_header_read(&in, &header);
    bool packed = (header.flags & CQL_FRAME_COMPRESSED) != 0;
    if ((header.version & CQL_DIRECTION) == 0 ||
        (packed && (link->segmented || !link->client->options.lz4)))
        return mr_fail(MR_CORRUPT, "what answers at %s:%u does not speak CQL's native protocol",
                       cql_client_link_address(link)->host, cql_client_link_address(link)->port);
    if (packed) {
        struct mr_buf *plain = &link->client->plain;
        mr_buf_clear(plain);
        mr_err err = cql_lz4_unpack(plain, mr_str_of(in.at, mr_in_left(&in)), MR_LIMIT_FRAME_BYTES);
        if (err != MR_OK)
            return err;
        in = mr_in_str(mr_buf_as_str(plain));
    }
    return told(link, &header, &in);
}

/* Takes the first frame off `rest`; *frame is empty when it is not all there. */
static mr_err frame_take(mr_str *rest, mr_str *frame)
{
    struct cql_header header;
    *frame = MR_STR_NULL;
    if (rest->length < CQL_HEADER_BYTES)
        return MR_OK;
    struct mr_in in = mr_in_str(*rest);
    cql_header_read(&in, &header);
    size_t whole = CQL_HEADER_BYTES + (size_t)header.length;
    mr_err err = length_check(&header);
    if (err != MR_OK || rest->length < whole)
        return err;
    *frame = mr_str_of(rest->data, whole);
    *rest = mr_str_of(rest->data + whole, rest->length - whole);
    return MR_OK;
}

/* Each frame may be the link's last: whoever is told may free it. */
static mr_err frames_tell(struct net_conn *conn, struct cql_link *link, mr_str rest,
                          cql_framing_told *told)
{
    while (rest.length > 0 && net_context(conn) == link) {
        mr_str frame;
        mr_err err = frame_take(&rest, &frame);
        if (err == MR_OK && frame.length == 0)
            err = mr_fail(MR_CORRUPT, "a CQL segment ends inside a frame");
        if (err == MR_OK)
            err = frame_tell(link, frame, told);
        if (err != MR_OK)
            return err;
    }
    return MR_OK;
}

/* A part of a frame: it is told with its last part. */
static mr_err part_add(struct net_conn *conn, struct cql_link *link, mr_str part,
                       cql_framing_told *told)
{
    mr_str frame, rest;
    mr_buf_str(&link->partial, part);
    rest = mr_buf_as_str(&link->partial);
    mr_err err = frame_take(&rest, &frame);
    if (err != MR_OK || frame.length == 0)
        return err;
    struct mr_buf taken = link->partial;
    link->partial = (struct mr_buf){0};
    err = rest.length > 0 ? mr_fail(MR_CORRUPT, "a CQL segment goes on after its frame's end")
                          : frames_tell(conn, link, frame, told);
    mr_buf_fini(&taken);
    return err;
}

mr_err cql_framing_message(struct net_conn *conn, struct cql_link *link, mr_str message,
                           cql_framing_told *told)
{
    mr_str payload;
    bool whole = true;
    if (!link->segmented)
        return frame_tell(link, message, told);
    struct mr_buf plain = link->client->plain; /* the link and its client may end in between */
    link->client->plain = (struct mr_buf){0};
    mr_err err = cql_segment_read(message, link->client->options.lz4, &plain, &payload, &whole);
    if (err == MR_OK && whole && link->partial.length > 0)
        err = mr_fail(MR_CORRUPT, "a CQL segment begins inside another one's frame");
    if (err == MR_OK)
        err = whole ? frames_tell(conn, link, payload, told) : part_add(conn, link, payload, told);
    if (net_context(conn) == link && link->client->plain.data == NULL)
        link->client->plain = plain;
    else
        mr_buf_fini(&plain);
    return err;
}
