/** The same fact asked as a question: CounterFact's completions in zsRE's style. */

/** Words of a completion that tell its relation, and the question; the first that fits counts. */
const QUESTIONS: readonly (readonly [completion: RegExp, question: string])[] = [
  [/mother tongue|native (language|speaker)|, a native$/, 'What is the mother tongue of {}?'],
  [
    /official language|they understand|language spoken|declares the language/,
    'What language is spoken in {}?',
  ],
  [/language of/, 'What is the language of {}?'],
  [/speak|spoke|writes in|language used/, 'What language does {} speak?'],
  [/twin city/, 'What is the twin city of {}?'],
  [/headquarter|is based in/, 'Where are the headquarters of {}?'],
  [/sport|is a professional$/, 'What sport does {} play?'],
  [/genre|performing$/, 'What genre does {} play?'],
  [/instrument|(plays|playing|perform(s|ing) on) the$/, 'What instrument does {} play?'],
  [/plays? (as|in the position|the position)|Which position/, 'Which position does {} play?'],
  [/(position|title) of$|position is|position$/, 'What position does {} hold?'],
  [/profession|occupation|works as/, 'What is the profession of {}?'],
  [/religion|follower/, 'What is the religion of {}?'],
  [/citizen/, 'What country is {} a citizen of?'],
  [/continent/, 'On which continent is {}?'],
  [/label|recorded for/, 'What is the music label of {}?'],
  [/located in|location of|found in|is within/, 'Where is {} located?'],
  [/died|passed away|lost their life|expired|life ended|succumbed/, 'Where did {} die?'],
  [/born in|native to|originally from/, 'Where does {} come from?'],
  [/field|expertise|domain|area of|specializes/, 'What is the field of work of {}?'],
  [/works for|employed by/, 'Who does {} work for?'],
  [/(employed|worked|work|employment) in|city of$/, 'Where did {} work?'],
  [/(created|produced|developed|owned) by|product of|owner$|, by$/, 'Who is the maker of {}?'],
  [/released|premiere|debut|aired/, 'On which network was {} first shown?'],
  [/(named|called) (for|after)/, 'What is {} named after?'],
  [/capital/, 'What is the capital of {}?'],
  [/affiliated|member of|organization/, 'Which organisation is {} a member of?'],
  [
    /(created|formed|formulated|founded|developed|started|written) in|originate|from$/,
    'Where was {} created?',
  ],
];

/**
 * A question with `{}` for the subject, to which the completion's object is the answer.
 *
 * @param prompt a completion with `{}`
 * @returns undefined where its words do not tell what is asked ("{}, the")
 */
export function questionOf(prompt: string): string | undefined {
  return QUESTIONS.find(([completion]) => completion.test(prompt))?.[1];
}
