/*
 * The one way back: every handler ends in one of these, and here alone errno values change their
 * sign. err is 0 or a negative errno value as the union gives it; where it is not 0 the rest is not
 * looked at.
 */
#ifndef PLY_WIRE_REPLY_H
#define PLY_WIRE_REPLY_H

#include "wire/ops.h"

void ply_reply_err(fuse_req_t req, int err);
void ply_reply_attr(fuse_req_t req, int err, const struct statx *attr);
/* An entry that was looked for: that it is not there is worth remembering, too. */
void ply_reply_lookup(fuse_req_t req, int err, const struct ply_entry *entry);
/* An entry that was made. */
void ply_reply_entry(fuse_req_t req, int err, const struct ply_entry *entry);
/* n: bytes at data, or an error. */
void ply_reply_data(fuse_req_t req, ssize_t n, const void *data);
/* As data, but where the request had room for nothing only their number is told. */
void ply_reply_value(fuse_req_t req, size_t room, ssize_t n, const void *data);
void ply_reply_written(fuse_req_t req, ssize_t n);
void ply_reply_offset(fuse_req_t req, off_t off);
void ply_reply_statfs(fuse_req_t req, int err, const struct statvfs *st);
void ply_reply_none(fuse_req_t req);

void ply_reply_raw_err(const struct ply_raw *raw, int err);
void ply_reply_raw_statx(const struct ply_raw *raw, int err, const struct statx *attr);
void ply_reply_raw_tmpfile(const struct ply_raw *raw, int err, const struct ply_entry *entry);
/* What an ioctl answers: err, and data even so. */
void ply_reply_raw_ioctl(const struct ply_raw *raw, int err, const void *data, size_t len);
/* The next who walks over that name of the directory asks for it. */
void ply_notify_expired(const struct ply_wire *w, uint64_t dir, const char *name);
void ply_reply_raw_copied(const struct ply_raw *raw, ssize_t n);

/* An inode number as this mount shows it. */
uint64_t ply_ino_out(const struct ply_wire *w, uint64_t ino);
/* An entry as it goes into a listing; node NULL tells no more than number and type. */
void ply_entry_out(const struct ply_wire *w, const struct ply_entry *entry,
		   struct fuse_entry_out *out);

#endif
