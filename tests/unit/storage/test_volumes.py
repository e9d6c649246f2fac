from __future__ import annotations

import errno
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import engine
from ingest.storage import volumes
from ingest.storage.disks import Disk
from ingest.storage.volumes import NETWORK_TYPES, Mount, Storage, Volume, mount_of, mounts, place_of, volume_of


@pytest.fixture
def table(tmp_path):
    """A mount table with these lines, read as the kernel's is."""

    def read(*lines: bytes) -> list[Mount]:
        file = tmp_path / "mountinfo"
        file.write_bytes(b"".join(line + b"\n" for line in lines))
        return mounts(str(file))

    return read


def line(point: bytes, kind: bytes = b"ext4", origin: bytes = b"/dev/sdz9", **parts: bytes) -> bytes:
    inner, device = parts.get("inner", b"/"), parts.get("device", b"259:7")
    options, extra = parts.get("options", b"rw,relatime"), parts.get("extra", b" shared:1")
    own = parts.get("own", b"rw")
    return b"36 35 %s %s %s %s%s - %s %s %s" % (device, inner, point, options, extra, kind, origin, own)


# Reading the table


def test_a_line_is_read_field_by_field(table):
    (mount,) = table(line(b"/mnt/card", b"exfat", b"/dev/sdb1", device=b"8:17", inner=b"/DCIM"))

    assert mount == Mount(os.makedev(8, 17), b"/DCIM", b"/mnt/card", "exfat", b"/dev/sdb1", read_only=False)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (rb"/mnt/My\040Disk", b"/mnt/My Disk"),
        (rb"/mnt/two\012lines", b"/mnt/two\nlines"),
        (rb"/mnt/a\011tab", b"/mnt/a\ttab"),
        (rb"/mnt/back\134slash", b"/mnt/back\\slash"),
        (rb"/mnt/\134040", rb"/mnt/\040"),
        (b"/mnt/\xff\xfe", b"/mnt/\xff\xfe"),
        (b"/mnt/caf\xc3\xa9", b"/mnt/caf\xc3\xa9"),
        (b"/mnt/a\rb\x0bc\x0cd", b"/mnt/a\rb\x0bc\x0cd"),
        (rb"/mnt/a\040-\040b", b"/mnt/a - b"),
    ],
)
def test_what_the_kernel_escapes_is_read_back(table, written, meant):
    (mount,) = table(line(written))

    assert mount.point == meant
    assert mount.type == "ext4"


@pytest.mark.parametrize("extra", [b"", b" shared:1", b" shared:1 master:2 propagate_from:3"])
def test_there_may_be_any_number_of_optional_fields(table, extra):
    (mount,) = table(line(b"/mnt/a", b"xfs", b"/dev/sdc", extra=extra))

    assert (mount.point, mount.type, mount.origin) == (b"/mnt/a", "xfs", b"/dev/sdc")


@pytest.mark.parametrize(
    ("options", "own", "expected"),
    [
        (b"rw", b"rw", False),
        (b"ro,noatime", b"rw", True),
        (b"rw", b"ro,errors=remount-ro", True),
        (b"rw,errors=ro", b"rw", False),
    ],
)
def test_a_mount_is_read_only_by_its_own_options_or_its_file_system_s(table, options, own, expected):
    (mount,) = table(line(b"/mnt/a", options=options, own=own))

    assert mount.read_only is expected


def test_a_mount_without_an_origin_has_none(table):
    (mount,) = table(b"36 35 0:50 / /mnt/a rw - tmpfs  rw,size=1k")

    assert (mount.type, mount.origin) == ("tmpfs", b"")


def test_where_there_is_no_table_there_are_no_mounts(tmp_path):
    assert mounts(str(tmp_path / "missing")) == []


def test_the_kernel_s_own_table_can_be_read():
    found = mounts()

    assert any(mount.point == b"/" for mount in found)
    assert all(mount.point.startswith(b"/") for mount in found)


# Which mount a path lies on


@pytest.fixture
def nested(table):
    return table(line(b"/"), line(b"/mnt/a", b"xfs"), line(b"/mnt/a/b", b"btrfs"), line(b"/mnt/ab", b"vfat"))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"/", "ext4"), (b"/etc", "ext4"), (b"/mnt", "ext4"), (b"/mnt/a", "xfs"), (b"/mnt/a/c", "xfs"),
        (b"/mnt/a/b", "btrfs"), (b"/mnt/a/b/c/d", "btrfs"), (b"/mnt/ab", "vfat"), (b"/mnt/abc", "ext4"),
    ],
)  # fmt: skip
def test_a_path_lies_on_the_deepest_mount_above_it(nested, path, kind):
    assert mount_of(path, nested).type == kind


def test_a_later_mount_covers_an_earlier_one_at_the_same_point(table):
    covered = table(line(b"/"), line(b"/mnt/a", b"xfs"), line(b"/mnt/a", b"nfs4"))

    assert mount_of(b"/mnt/a/x", covered).type == "nfs4"


def test_a_relative_table_has_no_answer():
    assert mount_of(b"/anything", []) is None


component = st.sampled_from([b"a", b"b", b"ab", b"c d"])
absolute = st.lists(component, max_size=4).map(lambda parts: b"/" + b"/".join(parts))


@given(st.lists(absolute, min_size=1, max_size=6), absolute)
def test_no_deeper_or_later_mount_holds_the_path(points, path):
    table = [Mount(number, b"/", point, "ext4", b"", read_only=False) for number, point in enumerate([b"/", *points])]

    best = mount_of(path, table)

    holding = [m for m in table if (path + b"/").startswith(m.point.rstrip(b"/") + b"/")]
    assert best in holding
    assert all(len(m.point) < len(best.point) or m.device <= best.device for m in holding)


# Where a path really is


def test_a_bind_mount_is_another_way_to_the_same_place(table):
    bound = table(line(b"/", device=b"8:1"), line(b"/srv/photos", device=b"8:1", inner=b"/home/me/photos"))

    assert place_of(b"/srv/photos/2024", bound) == place_of(b"/home/me/photos/2024", bound)
    assert place_of(b"/srv/photos", bound) == (os.makedev(8, 1), b"/home/me/photos")


def test_two_disks_are_two_places(table):
    disks = table(line(b"/", device=b"8:1"), line(b"/mnt/a", device=b"8:17"), line(b"/mnt/b", device=b"8:33"))

    assert len({place_of(path, disks) for path in (b"/x", b"/mnt/a/x", b"/mnt/b/x")}) == 3


def test_a_place_need_not_exist_yet(table):
    disks = table(line(b"/", device=b"8:1"), line(b"/mnt/a", device=b"8:17"))

    assert place_of(b"/mnt/a", disks) == (os.makedev(8, 17), b"/")
    assert place_of(b"/mnt/a/not/yet", disks) == (os.makedev(8, 17), b"/not/yet")


def test_a_link_is_followed_to_its_place(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert place_of(os.fsencode(tmp_path / "link")) == place_of(os.fsencode(tmp_path / "real"))


def test_without_a_table_the_path_itself_is_the_place(tmp_path):
    assert place_of(os.fsencode(tmp_path), []) == (0, os.fsencode(tmp_path.resolve()))


@pytest.mark.parametrize(
    ("own", "layers"),
    [
        (b"rw,lowerdir=/a:/b,upperdir=/c,workdir=/d", (b"/a", b"/b", b"/c")),
        (rb"rw,lowerdir=/My\040Disk\054\0751,upperdir=/c", (b"/My Disk,=1", b"/c")),
        (rb"rw,lowerdir=/a\134:b:/c", (b"/a:b", b"/c")),
        (b"rw,lowerdir+=/a,lowerdir+=/b,datadir+=/c", (b"/a", b"/b", b"/c")),
        (b"ro,lowerdir=/a::/b", (b"/a", b"/b")),
        (rb"rw,upperdir=/a:b", (b"/a:b", b"/a", b"b")),
    ],
)
def test_the_layers_of_an_overlay_are_read_as_they_were_given(table, own, layers):
    (mount,) = table(line(b"/ov", b"overlay", b"none", own=own))

    assert mount.layers == layers


def test_other_mounts_have_no_layers(table):
    (mount,) = table(line(b"/x", b"ext4", own=b"rw,lowerdir=/a"))

    assert mount.layers == ()


# What is known of a volume


@pytest.mark.parametrize(
    ("kind", "storage", "served"),
    [
        (b"ext4", Storage.LOCAL, False), (b"xfs", Storage.LOCAL, False), (b"btrfs", Storage.LOCAL, False),
        (b"overlay", Storage.LOCAL, False), (b"tmpfs", Storage.LOCAL, False), (b"fuse", Storage.LOCAL, False),
        (b"vfat", Storage.REMOVABLE, False), (b"exfat", Storage.REMOVABLE, False), (b"fuseblk", Storage.REMOVABLE, False),
        (b"ntfs3", Storage.REMOVABLE, False), (b"udf", Storage.REMOVABLE, False),
        (b"nfs", Storage.NETWORK, False), (b"nfs4", Storage.NETWORK, False), (b"cifs", Storage.NETWORK, False),
        (b"smb3", Storage.NETWORK, False), (b"9p", Storage.NETWORK, False), (b"ceph", Storage.NETWORK, False),
        (b"glusterfs", Storage.NETWORK, False), (b"davfs", Storage.NETWORK, False), (b"afpfs", Storage.NETWORK, False),
        (b"fuse.sshfs", Storage.NETWORK, True), (b"fuse.rclone", Storage.NETWORK, True),
        (b"fuse.s3fs", Storage.NETWORK, True), (b"fuse.smbnetfs", Storage.NETWORK, True),
        (b"fuse.mergerfs", Storage.LOCAL, False), (b"fuse.gocryptfs", Storage.LOCAL, False),
    ],
)  # fmt: skip
def test_the_type_in_the_mount_table_says_how_far_away_the_bytes_are(table, tmp_path, kind, storage, served):
    here = table(line(b"/", kind, b"server:/export", device=b"0:999"))

    volume = volume_of(os.fsencode(tmp_path), here)

    assert (volume.storage, volume.served, volume.type) == (storage, served, kind.decode())
    assert volume.rotational is None or storage is not Storage.NETWORK


def test_a_folder_that_is_called_nfs_is_no_share(tmp_path):
    folder = tmp_path / "nfs"
    folder.mkdir()

    assert volume_of(os.fsencode(folder)).storage is Storage.LOCAL


@pytest.mark.parametrize(
    "url", [b"smb://nas/media", b"nfs://nas/media", b"afp://nas/x", b"cifs://nas/x", b"//nas/media"]
)
def test_a_url_is_a_network_away(url):
    assert volume_of(url, []).storage is Storage.NETWORK


def test_a_path_that_is_not_there_is_an_error_that_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        volume_of(os.fsencode(tmp_path / "missing"))


def test_a_path_through_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(OSError) as caught:
        volume_of(os.fsencode(tmp_path / "file" / "x"))
    assert caught.value.errno == errno.ENOTDIR


def test_a_link_is_judged_by_what_it_leads_to(table, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    mounted = table(line(b"/"), line(os.fsencode((tmp_path / "disk").resolve()), b"nfs4"))

    assert volume_of(os.fsencode(tmp_path / "link"), mounted).storage is Storage.NETWORK


def test_without_a_mount_table_a_volume_is_plainly_local(tmp_path):
    volume = volume_of(os.fsencode(tmp_path), [])

    assert (volume.mount, volume.storage, volume.type) == (None, Storage.LOCAL, "")


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="no tmpfs at /dev/shm")
def test_a_tmpfs_is_memory():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        volume = volume_of(os.fsencode(folder))

    assert volume.memory
    assert (volume.type, volume.rotational, volume.fs_uuid, volume.block) == ("tmpfs", None, None, False)


def test_what_may_be_relied_on_is_the_engine_s_word_on_the_folder(tmp_path):
    folder = os.fsencode(tmp_path)

    volume = volume_of(folder)

    assert (volume.together, volume.evictable) == engine.reliance(folder)


def test_the_disk_that_tests_run_on_is_found(tmp_path):
    volume = volume_of(os.fsencode(tmp_path))

    assert volume.mount is not None
    assert volume.type == volume.mount.type != ""
    if volume.mount.origin.startswith(b"/dev/"):
        assert volume.block


@pytest.mark.parametrize(
    ("disk", "kind", "storage", "rotational", "block"),
    [
        (Disk(rotational=True, removable=False), b"ext4", Storage.LOCAL, True, True),
        (Disk(rotational=False, removable=False), b"xfs", Storage.LOCAL, False, True),
        (Disk(rotational=None, removable=False), b"ext4", Storage.LOCAL, None, True),
        (Disk(rotational=True, removable=True), b"ext4", Storage.REMOVABLE, True, True),
        (Disk(rotational=False, removable=False), b"exfat", Storage.REMOVABLE, False, True),
        (Disk(rotational=True, removable=False), b"nfs4", Storage.NETWORK, None, False),
        (None, b"ext4", Storage.LOCAL, None, False),
        (None, b"overlay", Storage.LOCAL, None, False),
    ],
)
def test_what_the_disk_is_becomes_what_the_volume_is(
    table, tmp_path, monkeypatch, disk, kind, storage, rotational, block
):
    monkeypatch.setattr(volumes, "disk_of", lambda _: disk)

    volume = volume_of(os.fsencode(tmp_path), table(line(b"/", kind, b"none")))

    assert (volume.storage, volume.rotational, volume.block) == (storage, rotational, block)


@pytest.mark.parametrize(
    ("kind", "daemon"),
    [(b"fuse", True), (b"fuse.sshfs", True), (b"fuseblk", True), (b"ext4", False), (b"fusectl", False)],
)
def test_what_a_daemon_hands_out_is_known(table, tmp_path, kind, daemon):
    assert volume_of(os.fsencode(tmp_path), table(line(b"/", kind, b"none"))).daemon is daemon


@pytest.mark.parametrize(
    ("kind", "origin", "uuid", "known"),
    [
        ("ext4", b"/dev/sda1", "12-34", b"uuid 12-34"),
        ("nfs4", b"server:/films", None, b"nfs4 server:/films"),
        ("fuse.sshfs", b"me@there:/films", None, b"fuse.sshfs me@there:/films"),
        ("fuse.some", b"some", None, b"fuse.some some"),
        ("tmpfs", b"tmpfs", None, b"device 77"),
    ],
)
def test_a_volume_is_known_again_by_what_stays_when_it_is_mounted_anew(kind, origin, uuid, known):
    storage = Storage.NETWORK if kind in NETWORK_TYPES else Storage.LOCAL
    mount = Mount(77, b"/", b"/films", kind, origin, read_only=False)

    assert Volume(mount, storage, kind, None, uuid).identity(77) == known
    assert Volume(None, Storage.LOCAL, "", None, None).identity(77) == b"device 77"
