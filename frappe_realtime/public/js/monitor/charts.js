// The charts of the last hour, with the chart library of the Desk.

import { element } from "./dom.js";
import { decimal, hour_and_minute, milliseconds, size, time_of_day } from "./format.js";

const HEIGHT = 180;
const MEGABYTE = 1024 ** 2;

// Points of a chart at most: more than its pixels can show make it slow.
const MAX_POINTS = 120;

// Seconds of a history whose times are written with seconds.
const SHORT = 600;

const BLUE = "#2490EF";
const GREEN = "#29CD42";
const ORANGE = "#F8814F";
const PURPLE = "#7575FF";

/** The charts: events, latency, sockets, memory. */
export class Charts {
	constructor() {
		this._charts = [
			new HourChart({
				title: __("Events and Deliveries per Second"),
				format: decimal,
				series: [
					{ name: __("Deliveries"), color: BLUE, read: ({ deliveries }) => deliveries },
					{ name: __("Events"), color: GREEN, read: ({ events }) => events },
				],
			}),
			new HourChart({
				title: __("Publish to Write in Milliseconds"),
				format: milliseconds,
				series: [
					{ name: __("99 % of events"), color: ORANGE, read: ({ p99_ms }) => p99_ms },
					{ name: __("Half of events"), color: BLUE, read: ({ p50_ms }) => p50_ms },
				],
			}),
			new HourChart({
				title: __("Sockets"),
				format: decimal,
				series: [{ name: __("Sockets"), color: PURPLE, read: ({ sockets }) => sockets }],
			}),
			new HourChart({
				title: __("Memory in MB"),
				format: (megabytes) => size(megabytes * MEGABYTE),
				series: [{ name: __("Memory"), color: GREEN, read: ({ memory }) => memory / MEGABYTE }],
			}),
		];
		this.element = element(
			"div",
			{ class: "realtime-charts" },
			...this._charts.map((chart) => chart.element)
		);
	}

	/**
	 * Show samples.
	 *
	 * @param {import("./history.js").Sample[]} samples
	 */
	show(samples) {
		const points = thin_out(samples);
		for (const chart of this._charts) chart.show(points);
	}
}

class HourChart {
	constructor({ title, format, series }) {
		this._format = format;
		this._series = series;
		this._last_label = "";
		this._chart = null;
		this._plot = element("div", { class: "realtime-plot" });
		this._empty = element("div", { class: "realtime-empty" }, __("The first values come after some seconds."));
		const legend = series.length > 1 ? series.map(({ name, color }) => legend_entry(name, color)) : [];
		this.element = element(
			"section",
			{ class: "realtime-card realtime-chart" },
			element("header", {}, element("h4", {}, title), ...legend),
			this._plot,
			this._empty
		);
	}

	show(points) {
		// A line needs two points.
		const has_line = points.length > 1;
		this._empty.hidden = has_line;
		this._plot.hidden = !has_line;
		if (!has_line) return;
		const times = points.map(({ time }) => time);
		const last = times[times.length - 1];
		const write = last - times[0] < SHORT ? time_of_day : hour_and_minute;
		this._last_label = write(last);
		const data = {
			// The last label would overlap the one before; the tooltip names its time all the same.
			labels: times.map((time, index) => (index < times.length - 1 ? write(time) : "")),
			datasets: this._series.map(({ name, read }) => ({ name, values: points.map((point) => round(read(point))) })),
		};
		this._chart ??= this._make(data);
		// A new chart shows zeros for the first moment, unless it is updated.
		this._chart.update(data);
	}

	_make(data) {
		return new frappe.Chart(this._plot, {
			type: "line",
			height: HEIGHT,
			data,
			colors: this._series.map(({ color }) => color),
			animate: false,
			disableEntryAnimation: true,
			showLegend: false,
			axisOptions: { xIsSeries: true, xAxisMode: "tick", shortenYAxisNumbers: true, yAxisRange: { min: 0 } },
			lineOptions: { regionFill: true },
			tooltipOptions: {
				formatTooltipX: (label) => label || this._last_label,
				formatTooltipY: this._format,
			},
		});
	}
}

function legend_entry(name, color) {
	const mark = element("span", { class: "realtime-mark" });
	mark.style.backgroundColor = color;
	return element("small", { class: "realtime-legend" }, mark, name);
}

// The library writes the numbers of the axis as they are.
function round(value) {
	return Math.round(value * 100) / 100;
}

// Keep so many samples that the newest is among them.
function thin_out(samples) {
	const step = Math.ceil(samples.length / MAX_POINTS);
	return samples.filter((_, index) => (samples.length - 1 - index) % step === 0);
}
