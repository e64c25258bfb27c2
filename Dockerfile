# The gateway alone, in an image of nothing else: docker build -t chat2response .
# MCP servers that are commands need their programs: docker build --build-arg BASE=node:24-slim -t chat2response .
#
# /app/data is a link to /data, so that the program's own defaults put files into the volume and nothing has to be set:
# with OPENAI_API_KEY keys and conversations are in /data/keys.db; without it there is no such file, as everywhere, and
# what clients ask and are answered is in memory. CHAT2RESPONSE_SLED_PATH=/data/keys.db keeps it in that case too, and is
# needed where a folder is mounted over /app.
ARG BASE=scratch

FROM --platform=$BUILDPLATFORM golang:1.26-trixie AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ENV GOCACHE=/go/cache
# The tags leave out what xcaddy leaves out too: databases of an ACME server of Caddy's own.
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/go/cache \
	CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
	go build -trimpath -tags nobadger,nomysql,nopgx -ldflags "-s -w" -o /out/usr/bin/chat2response ./cmd/chat2response
RUN mkdir -p /out/etc/ssl/certs /out/app /out/data /out/tmp && chmod 1777 /out/tmp && chown 10001:10001 /out/data && \
	ln -s ../data /out/app/data && \
	cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/

FROM ${BASE}
COPY --from=build /out /
ENV BIND_ADDR=0.0.0.0:8088 \
	HOME=/data \
	XDG_DATA_HOME=/data \
	XDG_CONFIG_HOME=/data
USER 10001:10001
WORKDIR /app
VOLUME /data
EXPOSE 8088
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/bin/chat2response", "status", "--quiet"]
ENTRYPOINT ["/usr/bin/chat2response"]
