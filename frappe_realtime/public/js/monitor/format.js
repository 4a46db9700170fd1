// Writes numbers, sizes and times in the formats of the user.

const SIZE_UNITS = ["B", "KB", "MB", "GB", "TB"];

/** Write an integer, grouped as the system settings say. */
export function count(value) {
	return format_number(value, null, 0);
}

/** Write how many sockets there are. */
export function count_sockets(number) {
	return number === 1 ? __("1 socket") : __("{0} sockets", [count(number)]);
}

/** Write a number with one decimal if it is small, and none otherwise. */
export function decimal(value) {
	return format_number(value, null, value > 0 && value < 10 ? 1 : 0);
}

/** Write a share between 0 and 1 as a percentage. */
export function percent(value) {
	return `${decimal(value * 100)} %`;
}

/** Write a number of bytes. */
export function size(bytes) {
	const unit = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), SIZE_UNITS.length - 1);
	return `${unit ? decimal(bytes / 1024 ** unit) : count(bytes)} ${SIZE_UNITS[unit]}`;
}

/** Write a number of milliseconds. */
export function milliseconds(value) {
	return value < 1000 ? `${decimal(value)} ms` : `${format_number(value / 1000, null, 1)} s`;
}

/** Write a number of seconds in its two largest units. */
export function duration(seconds) {
	const minutes = Math.floor(seconds / 60);
	const hours = Math.floor(minutes / 60);
	const days = Math.floor(hours / 24);
	if (days) return __("{0} d {1} h", [days, hours % 24]);
	if (hours) return __("{0} h {1} min", [hours, minutes % 60]);
	if (minutes) return __("{0} min", [minutes]);
	return __("{0} s", [Math.max(Math.floor(seconds), 0)]);
}

/** Write the time of day of a time in seconds since 1970; in the browser's time zone. */
export function time_of_day(time) {
	return moment.unix(time).format(frappe.datetime.get_user_time_fmt());
}

/** Write the hour and minute of a time in seconds since 1970; in the browser's time zone. */
export function hour_and_minute(time) {
	return moment.unix(time).format("HH:mm");
}

/** Write a time in seconds since 1970 with its date; in the browser's time zone. */
export function date_and_time(time) {
	const date_format = frappe.datetime.get_user_date_fmt().toUpperCase();
	return moment.unix(time).format(`${date_format} ${frappe.datetime.get_user_time_fmt()}`);
}

/** Write the address of a client; an IPv4 address without the prefix that it has on an IPv6 socket. */
export function address_name(address) {
	return address.replace(/^::ffff:(?=\d+\.)/i, "");
}

/** Write which process it is. */
export function process_name({ host, pid }) {
	return `${host} : ${pid}`;
}
