// The types of frappe_realtime/public/js/diagnosis.js, which the build puts in the place of this module.

export interface Step {
	step: "polling" | "websocket" | "connect";
	address: string;
	ok: boolean;
	status: number | null;
	code: string | null;
	reason: string;
	advice: string;
	milliseconds: number;
}

export interface Diagnosis {
	ok: boolean;
	code: string;
	message: string;
	reason: string;
	advice: string;
	docs: string;
	status: string;
	page: string;
	site: string;
	steps: Step[];
}

export function diagnose(socket: unknown, status?: string): Promise<Diagnosis>;
