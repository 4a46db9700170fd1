/*
 * The least work for the load of the benchmark: one epoll, one send() for each recipient, and no authentication.
 *
 * It answers the WebSocket upgrade and the CONNECT packet, and subscribes to the channel `events` itself. It trusts its
 * input: the requests of benchmarks/load.py, each in one read, and the events of benchmarks/publishers.py. It sends no pings.
 *
 * PORT and REDIS_URL (redis://127.0.0.1:PORT) come from the environment.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX 65536
#define BUFFER (1 << 20)
/* The answer to the one key that the load generator sends, so that no SHA-1 is needed. */
#define ACCEPT "BACScCJPNqyz+UBoqMH89VmURoA="

enum state { CLOSED, HANDSHAKE, OPEN, JOINED };

static enum state states[MAX];
static int user_of[MAX];  /* by descriptor */
static int socket_of[MAX]; /* by number of the user; 0 if not connected */
static int members[MAX];   /* descriptors in the room `all` */
static int place_of[MAX];  /* by descriptor: its index in members */
static int count;
static char in[BUFFER], redis_in[BUFFER], out[BUFFER];
static size_t redis_length;

static int tcp(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	return fd;
}

static struct sockaddr_in local(int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return address;
}

/* Write the header of a text frame before `payload` bytes of data; return its length. */
static size_t frame_header(char *at, size_t payload)
{
	at[0] = (char)0x81;
	if (payload < 126) {
		at[1] = (char)payload;
		return 2;
	}
	at[1] = 126;
	at[2] = (char)(payload >> 8);
	at[3] = (char)payload;
	return 4;
}

static void write_all(int fd, const char *data, size_t length)
{
	while (length > 0) {
		/* Blocks while the client reads too slowly. */
		ssize_t sent = send(fd, data, length, MSG_NOSIGNAL);
		if (sent < 0)
			return;
		data += sent;
		length -= (size_t)sent;
	}
}

static void leave(int fd)
{
	if (states[fd] == JOINED) {
		int last = members[--count];
		members[place_of[fd]] = last;
		place_of[last] = place_of[fd];
		if (socket_of[user_of[fd]] == fd)
			socket_of[user_of[fd]] = 0;
	}
	states[fd] = CLOSED;
	close(fd);
}

static void on_client(int fd)
{
	static const char upgraded[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
				       "Sec-WebSocket-Accept: " ACCEPT "\r\n\r\n";
	ssize_t length = recv(fd, in, BUFFER - 1, MSG_DONTWAIT);
	if (length < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (length <= 0) {
		leave(fd);
		return;
	}
	in[length] = 0;
	char text[256];
	size_t size, header = sizeof upgraded - 1;
	if (states[fd] == HANDSHAKE) {
		const char *sid = strstr(in, "sid=user");
		user_of[fd] = sid ? atoi(sid + 8) % MAX : 0;
		size = (size_t)sprintf(text, "0{\"sid\":\"%020d\",\"upgrades\":[],\"pingInterval\":25000,\"pingTimeout\":20000,"
					     "\"maxPayload\":1000000}", fd);
		memcpy(out, upgraded, header);
		states[fd] = OPEN;
	} else if (states[fd] == OPEN) {
		const char *begin = memmem(in, (size_t)length, "40/", 3);
		if (begin == NULL)
			return;
		size = (size_t)sprintf(text, "%.*s,{\"sid\":\"%020d\"}", (int)strcspn(begin, ","), begin, fd);
		header = 0;
		states[fd] = JOINED;
		socket_of[user_of[fd]] = fd;
		place_of[fd] = count;
		members[count++] = fd;
	} else {
		return;
	}
	header += frame_header(out + header, size);
	memcpy(out + header, text, size);
	write_all(fd, out, header + size);
}

/* Send {"event":E,"message":M,"room":R,"namespace":N} as 42/N,[E,M] to the sockets in R. */
static void on_event(char *payload, size_t length)
{
	payload[length] = 0;
	char *event = payload + strlen("{\"event\":");
	char *message = strstr(event, ",\"message\":");
	char *room = message;
	for (char *next = message; (next = strstr(next, ",\"room\":\"")) != NULL; next++)
		room = next;
	char *namespace = strstr(room, "\",\"namespace\":\"");
	char *text = out + 4, *at = text;
	*message = *room = *namespace = payload[length - 2] = 0;
	message += strlen(",\"message\":");
	room += strlen(",\"room\":\"");
	namespace += strlen("\",\"namespace\":\"");
	at += sprintf(at, "42/%s,[%s,", namespace, event);
	at = mempcpy(at, message, strlen(message));
	*at++ = ']';
	size_t size = (size_t)(at - text);
	char *frame = size < 126 ? out + 2 : out;
	size += frame_header(frame, size);
	if (strncmp(room, "user:user", 9) == 0) {
		int fd = socket_of[atoi(room + 9) % MAX];
		if (fd)
			write_all(fd, frame, size);
	} else {
		for (int index = 0; index < count; index++)
			write_all(members[index], frame, size);
	}
}

/* Read one line of RESP, "$<length>\r\n" or the like; return the text behind it, or NULL if it is not complete. */
static char *line(char *at, char *end, long *value)
{
	char *stop = memmem(at, (size_t)(end - at), "\r\n", 2);
	if (stop == NULL)
		return NULL;
	*value = atol(at + 1);
	return stop + 2;
}

static void on_redis(int fd)
{
	ssize_t length = recv(fd, redis_in + redis_length, BUFFER - redis_length - 1, MSG_DONTWAIT);
	if (length <= 0) {
		if (length < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		exit(1);
	}
	redis_length += (size_t)length;
	char *done = redis_in, *end = redis_in + redis_length;
	for (;;) {
		/* An array of three: the kind, the channel, and the payload or the number of subscriptions. */
		char *at = done, *payload = NULL;
		long size = 0;
		int part;
		if ((at = line(at, end, &size)) == NULL)
			break;
		for (part = 0; part < 3; part++) {
			char type = at < end ? *at : 0;
			if (type == 0 || (at = line(at, end, &size)) == NULL)
				break;
			if (type == ':')
				continue;
			payload = part == 2 ? at : NULL;
			if (end - at < size + 2)
				break;
			at += size + 2;
		}
		if (part < 3)
			break;
		if (payload != NULL)
			on_event(payload, (size_t)size);
		done = at;
	}
	redis_length = (size_t)(end - done);
	memmove(redis_in, done, redis_length);
}

int main(void)
{
	static const char subscribe[] = "*2\r\n$9\r\nSUBSCRIBE\r\n$6\r\nevents\r\n";
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max < MAX ? files.rlim_max : MAX;
	setrlimit(RLIMIT_NOFILE, &files);

	struct sockaddr_in address = local(atoi(strrchr(getenv("REDIS_URL"), ':') + 1));
	int redis = tcp(), listener = tcp(), epoll = epoll_create1(0);
	if (connect(redis, (struct sockaddr *)&address, sizeof address) != 0)
		return 1;
	write_all(redis, subscribe, sizeof subscribe - 1);
	address = local(atoi(getenv("PORT")));
	if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, 4096) != 0)
		return 1;
	struct epoll_event events[1024], wanted = { .events = EPOLLIN, .data.fd = redis };
	epoll_ctl(epoll, EPOLL_CTL_ADD, redis, &wanted);
	wanted.data.fd = listener;
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &wanted);
	for (;;) {
		int ready = epoll_wait(epoll, events, 1024, -1);
		for (int index = 0; index < ready; index++) {
			int fd = events[index].data.fd, on = 1;
			if (fd == redis) {
				on_redis(fd);
			} else if (fd == listener) {
				int client = accept4(listener, NULL, NULL, 0);
				if (client < 0 || client >= MAX)
					continue;
				setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
				states[client] = HANDSHAKE;
				wanted.data.fd = client;
				epoll_ctl(epoll, EPOLL_CTL_ADD, client, &wanted);
			} else {
				on_client(fd);
			}
		}
	}
}
