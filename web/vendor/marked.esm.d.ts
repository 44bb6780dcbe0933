// As much of marked as is used here, for the checking of types.
export const Lexer: any;
export const Marked: any;
