# Kindred in a container. Needs only Debian packages.
#
#   docker build -t kindred .
#   docker run -p 8080:8080 -v kindred-data:/data -e KINDRED_API_KEY="$(openssl rand -hex 32)" kindred
#
# The server listens on all addresses here, and refuses to start that way without a key: give KINDRED_API_KEY,
# or, where nobody else can reach the port, replace the command by one with --insecure:
#   docker run -p 127.0.0.1:8080:8080 kindred serve --data /data --listen 0.0.0.0:8080 --insecure

FROM debian:bookworm-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends make
WORKDIR /src
# The list of packages first, so that a change of sources does not install them again.
COPY tools/deps.sh tools/deps.sh
RUN tools/deps.sh build
COPY . .
# docker build --build-arg COMMIT=$(git rev-parse --short=12 HEAD) .   for what /version says
ARG COMMIT=unknown
RUN make COMMIT="$COMMIT" && make COMMIT="$COMMIT" install DESTDIR=/out PREFIX=/usr && strip /out/usr/bin/kindred

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends \
        libmicrohttpd12 libjansson4 libsqlite3-0 libutf8proc2 libroaring0 libsodium23 libcurl4 libopenblas0-pthread \
        ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin kindred \
    && install -d -o kindred -g kindred -m 700 /data
# The program, and the base models in /usr/share/kindred/models.
COPY --from=build /out/usr/ /usr/
USER kindred
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
ENTRYPOINT ["kindred"]
CMD ["serve", "--data", "/data", "--listen", "0.0.0.0:8080"]
