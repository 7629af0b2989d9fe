/*
 * What there is to be found, in one table: what it means, where it comes from, and what a repair does. The man page and the
 * tests are held against it.
 */
#include "check.h"

#include <stdio.h>
#include <string.h>

/* clang-format off */
const struct ply_finding_text ply_finding_texts[PLY_NFINDINGS] = {
	[PLY_FOUND_ORPHAN_WHITEOUT] = {
		"orphan-whiteout", PLY_WARNING, PLY_REMEDY_ALL,
		"A whiteout in the upper that hides nothing.",
		"A lower layer was changed or exchanged, or the whiteout was made by hand.",
		"The whiteout is removed. In a stack where it would hide something it would be "
		"missing." },
	[PLY_FOUND_IDLE_WHITEOUT] = {
		"idle-whiteout", PLY_NOTE, PLY_REMEDY_NONE,
		"A whiteout in a lower layer that hides nothing.",
		"The layer was made for another stack, which is normal.",
		"Nothing has to be done; plyfs-merge --below leaves such out." },
	[PLY_FOUND_UNANNOUNCED_WHITEOUT] = {
		"unannounced-whiteout", PLY_ERROR, PLY_REMEDY_SAFE,
		"A whiteout by attribute in a directory whose overlay.opaque is not x: it is "
		"shown as an empty file.",
		"A copy that lost the directory's attribute, or a tool that does not know the "
		"form.",
		"The directory gets overlay.opaque=x." },
	[PLY_FOUND_FULL_WHITEOUT] = {
		"full-whiteout", PLY_WARNING, PLY_REMEDY_ALL,
		"The whiteout attribute on a file that is not empty, where it means nothing.",
		"Something wrote to the file in the layer itself.",
		"The attribute is removed; the file stays, and is shown as before." },
	[PLY_FOUND_IDLE_ANNOUNCEMENT] = {
		"idle-announcement", PLY_NOTE, PLY_REMEDY_NONE,
		"overlay.opaque is x, but no whiteouts by attribute are there.",
		"They were removed since. It costs a look at each empty file.",
		"Nothing has to be done." },
	[PLY_FOUND_MIXED_WHITEOUTS] = {
		"mixed-whiteouts", PLY_WARNING, PLY_REMEDY_NONE,
		"A layer with .wh. files has whiteouts of other forms: the kernel's overlayfs "
		"shows the former as files.",
		"The layer was unpacked by one program and changed by another.",
		"plyfs-convert makes them one form." },
	[PLY_FOUND_AUFS_BESIDE_FILE] = {
		"aufs-beside-file", PLY_WARNING, PLY_REMEDY_ALL,
		"A .wh. file beside the file that it would hide.",
		"A layer with a deletion and a new file of one name, as some programs write "
		"them.",
		"The .wh. file is removed; the file is shown as before." },
	[PLY_FOUND_AUFS_BAD_NAME] = {
		"aufs-bad-name", PLY_WARNING, PLY_REMEDY_ALL,
		"A .wh. file without a name behind it, or with . or .. there.",
		"Made by hand, or by a hostile layer.",
		"It is removed; nothing is shown of it as it is." },
	[PLY_FOUND_AUFS_BAD_TYPE] = {
		"aufs-bad-type", PLY_WARNING, PLY_REMEDY_NONE,
		"A .wh. mark that is no regular file.",
		"Made by hand; every reader takes it for a whiteout nevertheless.",
		"Nothing, as a directory may have content." },
	[PLY_FOUND_AUFS_LEFTOVER] = {
		"aufs-leftover", PLY_NOTE, PLY_REMEDY_NONE,
		"AUFS's own files, never shown.",
		"The layer was a branch of AUFS.",
		"Nothing has to be done." },
	[PLY_FOUND_BAD_OPAQUE] = {
		"bad-opaque", PLY_WARNING, PLY_REMEDY_ALL,
		"A mark opaque whose value is neither y nor x.",
		"Made by hand, or another program's.",
		"The mark is removed; it says nothing as it is." },
	[PLY_FOUND_OPAQUE_REDIRECT] = {
		"opaque-redirect", PLY_WARNING, PLY_REMEDY_ALL,
		"An opaque directory has a redirect, which means nothing.",
		"One of the two was set by hand.",
		"The redirect is removed; the directory is shown as before." },
	[PLY_FOUND_BAD_REDIRECT] = {
		"bad-redirect", PLY_ERROR, PLY_REMEDY_ALL,
		"A redirect that is neither a name nor a path without dots: what has it cannot "
		"be looked up.",
		"Made by hand, or by a hostile layer.",
		"A directory's redirect is removed and the directory made opaque: it shows what "
		"its own layer has in it. A file's stays." },
	[PLY_FOUND_DANGLING_REDIRECT] = {
		"dangling-redirect", PLY_ERROR, PLY_REMEDY_ALL,
		"A redirect to where no layer below has a directory.",
		"A lower layer was changed, exchanged or left out.",
		"The redirect is removed and the directory made opaque: it shows what its own "
		"layer has in it, as now, also when a directory appears there. Give the right "
		"layers instead if you have them." },
	[PLY_FOUND_DUPLICATE_REDIRECT] = {
		"duplicate-redirect", PLY_ERROR, PLY_REMEDY_ALL,
		"The same directory is shown twice: by two redirects of a layer, or by one and "
		"at its own place.",
		"A whiteout at its old place was lost, or a renamed directory copied with its "
		"marks.",
		"The redirect is removed and the directory made opaque: what is below is shown "
		"at the other place only. Put a whiteout there instead if the rename was meant." },
	[PLY_FOUND_LOOPING_REDIRECT] = {
		"looping-redirect", PLY_ERROR, PLY_REMEDY_ALL,
		"Redirects that lead to one another so often that the search was given up.",
		"A hostile layer.",
		"The redirect is removed and the directory made opaque." },
	[PLY_FOUND_SELF_REDIRECT] = {
		"self-redirect", PLY_WARNING, PLY_REMEDY_SAFE,
		"A redirect to where the directory would be found anyway.",
		"A directory was renamed and renamed back.",
		"The redirect is removed." },
	[PLY_FOUND_IDLE_REDIRECT] = {
		"idle-redirect", PLY_NOTE, PLY_REMEDY_NONE,
		"A redirect on a file that has its data.",
		"The data came up after the file was renamed.",
		"Nothing has to be done." },
	[PLY_FOUND_METACOPY_NO_DATA] = {
		"metacopy-no-data", PLY_ERROR, PLY_REMEDY_NONE,
		"A file whose data should be in a layer below, and no layer has it.",
		"A lower layer was changed, exchanged or left out.",
		"Nothing can bring the data back but the right layers." },
	[PLY_FOUND_METACOPY_SIZE] = {
		"metacopy-size", PLY_ERROR, PLY_REMEDY_NONE,
		"The data below a file without its own has another size than the file.",
		"The file in the lower layer was changed or exchanged.",
		"Nothing: whether the data is the right one only you can know." },
	[PLY_FOUND_UNSETTLED_MARK] = {
		"unsettled-mark", PLY_WARNING, PLY_REMEDY_NONE,
		"A file has a mark that a later mount takes off.",
		"A server ended before its time, or the mount is in use.",
		"The next mount does it." },
	[PLY_FOUND_UNSETTLED] = {
		"unsettled", PLY_WARNING, PLY_REMEDY_SAFE,
		"The work directory says that marks are to be taken off.",
		"A server ended before its time.",
		"Where no mark is left, the note in the work directory is removed; else the "
		"next mount does it." },
	[PLY_FOUND_BAD_ORIGIN] = {
		"bad-origin", PLY_WARNING, PLY_REMEDY_ALL,
		"A mark origin that is no handle.",
		"Made by hand, or cut off by a copy.",
		"The mark is removed; inode numbers are as now." },
	[PLY_FOUND_STALE_ORIGIN] = {
		"stale-origin", PLY_WARNING, PLY_REMEDY_ALL,
		"A mark origin that leads to no file of the lower layers: the inode number is "
		"another than before.",
		"The layers were copied or restored. With index=on the kernel refuses such a "
		"file.",
		"The mark is removed; inode numbers are as now." },
	[PLY_FOUND_IMPURE_MISSING] = {
		"impure-missing", PLY_WARNING, PLY_REMEDY_SAFE,
		"A directory of the upper with origins in it does not say so, and they are not "
		"read.",
		"A copy that lost the mark impure.",
		"The directory gets the mark." },
	[PLY_FOUND_BAD_INDEX_NAME] = {
		"bad-index-name", PLY_ERROR, PLY_REMEDY_ALL,
		"An entry of the index whose name is no handle.",
		"Made by hand.",
		"The entry is removed, if the file has another name." },
	[PLY_FOUND_STALE_INDEX] = {
		"stale-index", PLY_WARNING, PLY_REMEDY_ALL,
		"An entry of the index of a file that no lower layer has any more.",
		"The layers were copied, restored or exchanged.",
		"The entry is removed, if the file has another name." },
	[PLY_FOUND_ORPHAN_INDEX] = {
		"orphan-index", PLY_WARNING, PLY_REMEDY_SAFE,
		"An entry of the index whose file has no other name, not even one that only a "
		"lower layer has.",
		"A crash between the removal of the last name and of the entry.",
		"The entry is removed." },
	[PLY_FOUND_INDEX_MISMATCH] = {
		"index-mismatch", PLY_ERROR, PLY_REMEDY_ALL,
		"An entry of the index whose name is another handle than the file's origin.",
		"Made by hand, or a copy that lost or mixed up attributes.",
		"The entry is removed, if the file has another name; names that only a lower "
		"layer has show the lower file then." },
	[PLY_FOUND_BAD_NLINK] = {
		"bad-nlink", PLY_WARNING, PLY_REMEDY_SAFE,
		"A mark nlink that does not say a difference, or a count of removed names in "
		"links of the work directory that is none.",
		"Made by hand.",
		"It is removed; link counts are as now." },
	[PLY_FOUND_WRONG_TYPE] = {
		"wrong-type", PLY_WARNING, PLY_REMEDY_ALL,
		"A mark on something of a type where it means nothing.",
		"Made by hand, or a copy that mixed up attributes.",
		"The mark is removed." },
	[PLY_FOUND_UNKNOWN_MARK] = {
		"unknown-mark", PLY_NOTE, PLY_REMEDY_NONE,
		"An attribute with the prefix of marks that means nothing here.",
		"A later version of some program wrote it.",
		"Nothing has to be done." },
	[PLY_FOUND_BAD_ESCAPE] = {
		"bad-escape", PLY_WARNING, PLY_REMEDY_ALL,
		"An escaped attribute without a name.",
		"Made by hand.",
		"The attribute is removed; no user of a mount could see it." },
	[PLY_FOUND_MARK_TWICE] = {
		"mark-twice", PLY_WARNING, PLY_REMEDY_ALL,
		"Two spaces of attributes have the mark with two values; that of the trusted "
		"space counts.",
		"A privileged and an unprivileged mount have both written to the layer.",
		"The one in the user space is removed. An unprivileged mount that read it shows "
		"another tree then." },
	[PLY_FOUND_BAD_OVERRIDE] = {
		"bad-override", PLY_ERROR, PLY_REMEDY_NONE,
		"An owner in an attribute that cannot be read.",
		"Made by hand.",
		"Nothing: which owner was meant only you can know." },
	[PLY_FOUND_WORK_LEFTOVER] = {
		"work-leftover", PLY_WARNING, PLY_REMEDY_SAFE,
		"What a mount left in the work directory.",
		"A server was killed, or the machine crashed.",
		"It is removed, as the next mount would do." },
	[PLY_FOUND_WORK_FOREIGN] = {
		"work-foreign", PLY_ERROR, PLY_REMEDY_NONE,
		"Something in the work directory that no mount makes. A mount is refused.",
		"Somebody put it there.",
		"Nothing, as it may be of value: move it away." },
	[PLY_FOUND_WORK_TYPE] = {
		"work-type", PLY_ERROR, PLY_REMEDY_NONE,
		"A work or index that is no directory. A mount is refused.",
		"Somebody put it there.",
		"Nothing, as it may be of value: move it away." },
	[PLY_FOUND_WORK_VOLATILE] = {
		"work-volatile", PLY_ERROR, PLY_REMEDY_ALL,
		"What a volatile mount leaves. A mount is refused, or will be when the machine "
		"was restarted.",
		"If the machine crashed while it was mounted, data of the upper may be missing.",
		"It is removed, so that the upper can be mounted as it is." },
	[PLY_FOUND_WORK_OTHER_FS] = {
		"work-other-fs", PLY_ERROR, PLY_REMEDY_NONE,
		"Upper and work directory are not on one mount.",
		"Wrong paths.",
		"Nothing: give others." },
	[PLY_FOUND_LAYERS_OVERLAP] = {
		"layers-overlap", PLY_ERROR, PLY_REMEDY_NONE,
		"One directory of the stack lies in another.",
		"Wrong paths.",
		"Nothing: give others." },
	[PLY_FOUND_LAYER_TWICE] = {
		"layer-twice", PLY_ERROR, PLY_REMEDY_NONE,
		"One directory of the stack is given twice.",
		"Wrong paths.",
		"Nothing: give it once." },
};
/* clang-format on */

const char *ply_severity_word(enum ply_severity severity)
{
	static const char *const words[] = { "note", "warning", "error" };

	return words[severity];
}

static void explain(const struct ply_finding_text *t)
{
	static const char *const remedies[] = { "not repaired", "repaired by -p and -y",
						"repaired by -y" };

	printf("%s: %s, %s\n  %s\n  Cause: %s\n  Repair: %s\n", t->name,
	       ply_severity_word(t->severity), remedies[t->remedy], t->meaning, t->cause,
	       t->repair);
}

int ply_explain(const char *name)
{
	int is_all = !strcmp(name, "all"), is_known = 0;

	for (size_t i = 0; i < PLY_NFINDINGS; i++)
		if (is_all || !strcmp(name, ply_finding_texts[i].name)) {
			explain(&ply_finding_texts[i]);
			is_known = 1;
		}
	return is_known ? 0 : -1;
}
