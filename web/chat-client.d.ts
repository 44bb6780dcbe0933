/**
 * A streaming chat client for browsers (2024 or newer) and Node 20: sends a message, streams the answer, and
 * resumes it after a lost connection. It has no user interface.
 *
 * @typedef {{ message: string, conversationId?: string, model?: string, temperature?: number,
 *   maxTokens?: number }} ChatRequest Without conversationId, the message starts a new conversation.
 * @typedef {{ messageId: string, conversationId: string }} Started
 * @typedef {Started & { text: string, usage?: Record<string, number>, finishReason:
 *   "stop" | "length" | "content_filter" | "cancelled" | "deadline" }} Completed
 * @typedef {object} Handlers
 * @property {(started: Started) => void} [onStart]
 * @property {(text: string, lastEventId: number) => void} [onChunk] `resume` takes the id.
 * @property {(completed: Completed) => void} [onComplete]
 * @property {(error: ChatError) => void} [onError]
 * @property {(state: "connecting" | "waiting" | "streaming" | "reconnecting" | "offline") => void}
 *   [onState] "waiting" is for the first text.
 * @typedef {string | null | undefined} Token
 * @typedef {object} Answer
 * @property {Promise<Completed>} done Rejects with a ChatError or the signal's reason.
 * @property {() => Promise<void>} stop Stops the answer, here and on the server.
 * @property {() => Answer} retry Tries again after an error, with the same idempotency key.
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
     * `resume` takes the id.
     */
    onChunk?: (text: string, lastEventId: number) => void;
    onComplete?: (completed: Completed) => void;
    onError?: (error: ChatError) => void;
    /**
     * "waiting" is for the first text.
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
     * Stops the answer, here and on the server.
     */
    stop: () => Promise<void>;
    /**
     * Tries again after an error, with the same idempotency key.
     */
    retry: () => Answer;
};
export declare class ChatError extends Error {
    name: string;
    code: string;
    userMessage: string;
    status: number;
    field: string;
    /** In seconds; 0 if unknown. */
    retryAfter: number;
    /** Whether `retry` can succeed. */
    retryable: boolean;
    /** @param {string} message @param {Partial<ChatError>} details */
    constructor(message: string, details: Partial<ChatError>);
}
export declare function createChatClient({ baseUrl, getToken, fetch, retries, // successive failures without new text
retryDelay, silenceTimeout, // three heartbeats
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
    /** Sends a message. All attempts have the same idempotency key.
     * Aborting the signal only disconnects; the server completes the answer.
     * @param {ChatRequest} request @param {Handlers} [handlers]
     * @param {{ signal?: AbortSignal, idempotencyKey?: string }} [options] */
    sendMessage(request: ChatRequest, handlers?: Handlers, { signal, idempotencyKey }?: {
        signal?: AbortSignal;
        idempotencyKey?: string;
    }): Answer;
    /** Reads an answer from the `lastEventId` of a chunk on, at any time.
     * @param {string} messageId @param {number} lastEventId @param {Handlers} [handlers]
     * @param {{ signal?: AbortSignal }} [options] */
    resume(messageId: string, lastEventId: number, handlers?: Handlers, { signal }?: {
        signal?: AbortSignal;
    }): Answer;
};
