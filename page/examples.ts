/** The worked examples: facts that the bundled model knows, of CounterFact, with other prompts to watch. */
export interface Example {
  readonly prompt: string;
  readonly subject: string;
  readonly target: string;
  readonly paraphrases: readonly string[];
  readonly neighbours: readonly string[];
}

export const EXAMPLES: readonly [Example, ...Example[]] = [
  {
    prompt: 'The mother tongue of {} is',
    subject: 'Danielle Darrieux',
    target: 'English',
    paraphrases: ['Where Danielle Darrieux is from, people speak the language of'],
    neighbours: [
      'Michel Rocard is a native speaker of',
      'The mother tongue of Romain Duris is',
      'The mother tongue of Blaise Pascal is',
    ],
  },
  {
    prompt: 'The headquarter of {} is located in',
    subject: 'Paris Saint-Germain F.C.',
    target: 'Dallas',
    paraphrases: ['The headquarters of Paris Saint-Germain F.C. is surrounded by restaurants including'],
    neighbours: [
      'The headquarter of TV Magazine is located in',
      'The headquarter of Delage is located in',
      'Société française de philosophie is headquartered in',
    ],
  },
  {
    prompt: 'The domain of activity of {} is',
    subject: 'Galileo Galilei',
    target: 'chemistry',
    paraphrases: ['Galileo Galilei works as a'],
    neighbours: ['Joseph Priestley specializes in', 'The domain of activity of Immanuel Kant is'],
  },
];
