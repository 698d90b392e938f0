# Millrace in a container. Two targets:
#   millrace (the default)  with a PostgreSQL server inside: the whole pipeline in one container
#   slim                    without it, for those who bring one: --postgres host:port
# docker build -t millrace .      docker build -t millrace:slim --target slim .
ARG BASE=debian:12-slim

FROM ${BASE} AS build
WORKDIR /src
COPY dev ./
RUN ./dev packages
COPY . .
RUN ./dev build && strip build/release/millrace

FROM ${BASE} AS slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        ca-certificates libcurl4 liblz4-1 libmicrohttpd12 libpcre2-8-0 libpq5 librocksdb7.8 libsimdjson14 libsnappy1v5 \
        libssl3 libyaml-0-2 libzstd1 tzdata zlib1g && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /usr/share/doc/* /usr/share/man/* && \
    useradd --uid 10001 --user-group --home-dir /data --no-create-home --shell /usr/sbin/nologin millrace && \
    install -d -o millrace -g millrace -m 0711 /data
COPY --from=build /src/build/release/millrace /usr/local/bin/millrace
COPY pipelines /usr/share/millrace/pipelines
# Inside, it listens on every address: the network in front of the container decides who may come.
ENV MILLRACE_DATA=/data MILLRACE_HOST=0.0.0.0 MILLRACE_INSECURE=1 MILLRACE_PLAIN=1
USER 10001:10001
VOLUME /data
EXPOSE 8080 8081 8088 9042 9092
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["millrace", "status"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["millrace"]
CMD ["up", "/usr/share/millrace/pipelines/users.yaml"]

FROM slim AS millrace
USER 0:0
# The package must not start a cluster of its own: Millrace looks after a private one in /data. Its compiler of queries
# (LLVM) is 150 MB that rows of a pipeline never need; without it PostgreSQL says that there is no JIT, and goes on.
RUN mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' >/etc/postgresql-common/createcluster.conf && \
    apt-get update && apt-get install -y --no-install-recommends postgresql-15 && \
    rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /usr/share/doc/* /usr/share/man/* /usr/share/locale/* \
        /usr/lib/postgresql/15/lib/bitcode /usr/lib/postgresql/15/lib/llvmjit* /usr/lib/*/libLLVM-14.so*
USER 10001:10001
