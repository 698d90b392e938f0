"""An authority and the certificates that it signs, by openssl."""
import subprocess


def openssl(folder, *arguments):
    subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)


def certificate(folder, name, names="", ca="ca"):
    """NAME.pem and NAME.key, signed by the authority `ca`, which is made when it is not there."""
    if not (folder / f"{ca}.pem").exists():
        openssl(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                "-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")
    openssl(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-subj", f"/O=Stories/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / f"{name}.ext").write_text(f"subjectAltName={names}\n" if names else "")
    openssl(folder, "x509", "-req", "-days", "2", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
            "-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.pem")


def by_certificate(folder, name):
    return {"security.protocol": "SSL", "ssl.ca.location": str(folder / "ca.pem"),
            "ssl.certificate.location": str(folder / f"{name}.pem"), "ssl.key.location": str(folder / f"{name}.key")}
