import { DaemonError } from '../protocol/errors.ts';
import type { WaitReason } from '../protocol/events.ts';
import type { TurnRow } from '../store/rows.ts';
import type { Payment } from './admission.ts';
import { ownCredential, type TurnInputs } from './turn-inputs.ts';
import type { TurnServices } from './turn-services.ts';

/** What a turn needs to start and cannot have yet. */
export function lackOf(services: TurnServices, row: TurnRow, inputs: TurnInputs): WaitReason | undefined {
  const payment = paymentOf(services, row, inputs);
  if (payment?.kind === 'awaited') return 'credentials_required';
  const lease = leaseIn(payment);
  return lease !== undefined && services.credentials.isLeased(lease, row.id) ? 'credential_in_use' : undefined;
}

function leaseIn(payment: Payment | undefined): string | undefined {
  return payment?.kind === 'configured' ? payment.lease : undefined;
}

/** Undefined for a turn that will be refused: it waits for nothing, and is told why when it starts. */
function paymentOf(services: TurnServices, row: TurnRow, inputs: TurnInputs): Payment | undefined {
  const installed = services.executor(row.executor);
  if (!installed) return undefined;
  const { model, member } = row;
  const asked = { executor: installed.definition, model, member: member ?? undefined };
  try {
    return services.admission.admit({ ...asked, credential: ownCredential(inputs) }).payment;
  } catch (error) {
    if (error instanceof DaemonError) return undefined;
    throw error;
  }
}
