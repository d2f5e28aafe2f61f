import pwd

from etils import epath

from fgsam_jax.data.datasets.records import _unnamed_owners


def test_files_of_a_user_id_without_a_name_have_a_size(monkeypatch, tmp_path):
    def unknown(number):
        raise KeyError(number)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    (tmp_path / "file").write_text("four")
    with _unnamed_owners():
        assert epath.Path(tmp_path / "file").stat().length == 4
    assert pwd.getpwuid is unknown
