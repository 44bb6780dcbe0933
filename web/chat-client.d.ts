/**
 * Streaming chat for browsers (of 2024 on) and Node 20: sends a message, hands over the answer as it comes,
 * and takes up a cut connection where it broke. How a chat looks is left to the page.
 *
 * @typedef {{ message: string, conversationId?: string, model?: string, temperature?: number,
 *   maxTokens?: number }} ChatRequest Without conversationId a new conversation begins.
 * @typedef {{ messageId: string, conversationId: string }} Started
 * @typedef {Started & { text: string, usage?: Record<string, number>, finishReason:
 *   "stop" | "length" | "content_filter" | "cancelled" | "deadline" }} Completed
 * @typedef {object} Handlers
 * @property {(started: Started) => void} [onStart]
 * @property {(text: string, lastEventId: number) => void} [onChunk] The id is what `resume` takes.
 * @property {(completed: Completed) => void} [onComplete]
 * @property {(error: ChatError) => void} [onError]
 * @property {(state: "connecting" | "waiting" | "streaming" | "reconnecting" | "offline") => void}
 *   [onState] waiting: for the first word.
 * @typedef {string | null | undefined} Token
 * @typedef {object} Answer
 * @property {Promise<Completed>} done Rejects with a ChatError or the signal's reason.
 * @property {() => Promise<void>} stop Ends the answer where it is, on the server too.
 * @property {() => Answer} retry After an error, under the same key: nothing is doubled.
 */
export type ChatRequest = {
    message: string;
    conversationId?: string;
    model?: string;
    temperature?: number;
    maxTokens?: number;
};
export type Started = {
    messageId: string;
    conversationId: string;
};
export type Completed = Started & {
    text: string;
    usage?: Record<string, number>;
    finishReason: "stop" | "length" | "content_filter" | "cancelled" | "deadline";
};
export type Handlers = {
    onStart?: (started: Started) => void;
    /**
     * The id is what `resume` takes.
     */
    onChunk?: (text: string, lastEventId: number) => void;
    onComplete?: (completed: Completed) => void;
    onError?: (error: ChatError) => void;
    /**
     * waiting: for the first word.
     */
    onState?: (state: "connecting" | "waiting" | "streaming" | "reconnecting" | "offline") => void;
};
export type Token = string | null | undefined;
export type Answer = {
    /**
     * Rejects with a ChatError or the signal's reason.
     */
    done: Promise<Completed>;
    /**
     * Ends the answer where it is, on the server too.
     */
    stop: () => Promise<void>;
    /**
     * After an error, under the same key: nothing is doubled.
     */
    retry: () => Answer;
};
export declare class ChatError extends Error {
    name: string;
    code: string;
    userMessage: string;
    status: number;
    field: string;
    /** Seconds, or 0. */
    retryAfter: number;
    /** Whether `retry` may bring an answer. */
    retryable: boolean;
    /** @param {string} message @param {Partial<ChatError>} details */
    constructor(message: string, details: Partial<ChatError>);
}
export declare function createChatClient({ baseUrl, getToken, fetch, retries, // in a row, without new text
retryDelay, silenceTimeout, // three heartbeats: then the connection is dead
stopTimeout, }?: {
    baseUrl?: string | undefined;
    fetch?: typeof globalThis.fetch | undefined;
    getToken?: ((why: {
        refresh: boolean;
    }) => Token | Promise<Token>) | undefined;
    retries?: number | undefined;
    retryDelay?: ((failures: number) => number) | undefined;
    silenceTimeout?: number | undefined;
    stopTimeout?: number | undefined;
}): {
    /** Sends a message, once: all attempts have one key. Aborting the signal only disconnects.
     * @param {ChatRequest} request @param {Handlers} [handlers]
     * @param {{ signal?: AbortSignal, idempotencyKey?: string }} [options] */
    sendMessage(request: ChatRequest, handlers?: Handlers, { signal, idempotencyKey }?: {
        signal?: AbortSignal;
        idempotencyKey?: string;
    }): Answer;
    /** Reads an answer on after a chunk's `lastEventId`, while it is written or later.
     * @param {string} messageId @param {number} lastEventId @param {Handlers} [handlers]
     * @param {{ signal?: AbortSignal }} [options] */
    resume(messageId: string, lastEventId: number, handlers?: Handlers, { signal }?: {
        signal?: AbortSignal;
    }): Answer;
};
