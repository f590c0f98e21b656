// The types of what the page uses of lit-html 3.3.3.
export type Template = { readonly _$litType$: number };
export function html(strings: TemplateStringsArray, ...values: unknown[]): Template;
export function svg(strings: TemplateStringsArray, ...values: unknown[]): Template;
export function render(what: unknown, where: HTMLElement): unknown;
export const nothing: unique symbol;
